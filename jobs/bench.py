"""`nightshift bench WHAT`: measure speed, of a whole run or of one of its stages."""

import argparse
from collections.abc import Iterable
from types import ModuleType

from jobs import bench_decode, bench_encode, bench_read, bench_run, bench_score, bench_text, bench_words
from pipeline.errors import UsageError

KINDS: dict[str, ModuleType] = {
    "run": bench_run,
    "read": bench_read,
    "encode": bench_encode,
    "decode": bench_decode,
    "words": bench_words,
    "score": bench_score,
    "text": bench_text,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = (
        "run: a whole run through Ray; read: audio files beside the bare decoders; encode: the encoder beside "
        "transformers; decode: the beam search beside pyctcdecode, and its search width; "
        "words: words from phones beside flashlight-text; score: an evaluation beside a loop over jiwer; "
        "text: features and decoded labels beside transformers"
    )
    parser.add_argument("what", choices=KINDS, metavar="WHAT", help=told)
    parser.add_argument("--json", action="store_true", help="only the JSON object that is the last line anyway")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for actions in _by_name().values():
        title = f"bench {' and '.join(actions)}"
        groups[title] = groups.get(title) or parser.add_argument_group(title)
        first = next(iter(actions.values()))
        if len({action.help for action in actions.values()}) > 1:
            first.help = "; ".join(f"{kind}: {action.help}" for kind, action in actions.items())
        first.default = argparse.SUPPRESS  # each kind has its own
        groups[title]._add_action(first)


def run(options: argparse.Namespace) -> int:
    """With the options of the kind, each as it was given or at that kind's default."""
    given = vars(options)
    own = vars(_parser(KINDS[options.what]).parse_args([]))
    for name, actions in _by_name().items():
        if name in given and name not in own:
            flag = next(iter(actions.values())).option_strings[0]
            kinds = " and ".join(f"`bench {kind}`" for kind in actions)
            raise UsageError(f"{flag} is an option of {kinds}, not of `bench {options.what}`")
    return int(KINDS[options.what].run(argparse.Namespace(**(own | given))))


def _by_name() -> dict[str, dict[str, argparse.Action]]:
    """Every option with the kinds that have it."""
    found: dict[str, dict[str, argparse.Action]] = {}
    for kind, module in KINDS.items():
        for action in _actions(_parser(module)):
            found.setdefault(action.dest, {})[kind] = action
    return found


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return parser._actions


def _parser(module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    module.add_arguments(parser)
    return parser
