"""`nightshift build-lm TEXT... OUT`: a word n-gram language model with modified Kneser-Ney smoothing, from text."""

import argparse
import dataclasses
import json
import re
import time
from typing import TYPE_CHECKING, Any

from jobs import show
from jobs.phases import Phases
from pipeline.errors import UsageError
from pipeline.progress import clock

if TYPE_CHECKING:
    from pipeline.lm.estimate.options import Estimate, EstimateOptions
    from pipeline.lm.estimate.perplexity import Perplexity

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text",
        nargs="+",
        metavar="TEXT",
        help="UTF-8 files, one sentence per line, plain or gzip: paths, globs, URLs, - for standard input",
    )
    parser.add_argument("output", metavar="OUT", help="name.arpa, name.arpa.gz, or name.bin in KenLM's binary format")
    parser.add_argument("--order", type=int, default=4, metavar="N", help="words of the longest n-grams; default 4")
    parser.add_argument(
        "--prune",
        type=_counts,
        nargs="+",
        metavar="COUNT",
        help="leave out n-grams seen this often or less, one count per order: 0 0 1 2; the last holds for the rest",
    )
    parser.add_argument("--vocab", metavar="FILE", help="leave out n-grams with words that this file does not hold")
    parser.add_argument("--limit-vocab", type=int, metavar="N", help="leave out all but the N most frequent words")
    parser.add_argument(
        "--discount-fallback", action="store_true", help="fixed discounts for orders that the text is too small for"
    )
    parser.add_argument("--skip-symbols", action="store_true", help="take <s>, </s> and <unk> in the text for spaces")
    parser.add_argument(
        "--memory", type=_size, default="4GB", metavar="SIZE", help="for sorting, beside the vocabulary; default 4GB"
    )
    parser.add_argument("--temp", metavar="DIR", help="for what does not fit into it; default: the system's")
    parser.add_argument("--perplexity", metavar="FILE", help="a held-out text to try the model on")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT where it exists")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    from pipeline.lm.estimate import text
    from pipeline.lm.estimate.build import estimate
    from pipeline.lm.estimate.output import Output

    settings = _settings(options)
    output = Output(options.output, options.overwrite)
    locations = text.expand(options.text)
    held_out = text.expand([options.perplexity]) if options.perplexity else []
    began = time.monotonic()
    with Phases() as phases, estimate(locations, settings, phases.tell) as model:
        phases.tell(f"writing {output.location}")
        size = output.write(model)
        tried = None
        if held_out:
            phases.tell(f"reading {options.perplexity} with the model")
            tried = _try_on(output.location, held_out)
    figures = _figures(model, tried) | {"output": output.location, "bytes": size, "wall_s": time.monotonic() - began}
    if options.json:
        print(json.dumps(figures))
    else:
        _print(figures)
    return 0


def _settings(options: argparse.Namespace) -> "EstimateOptions":
    from pipeline.lm.estimate.options import EstimateOptions

    return EstimateOptions(
        order=options.order,
        prune=tuple(count for counts in options.prune or [[0]] for count in counts),
        allowed_words=_words_in(options.vocab) if options.vocab else None,
        limit_vocab=options.limit_vocab,
        discount_fallback=options.discount_fallback,
        skip_symbols=options.skip_symbols,
        memory=options.memory,
        temp=options.temp,
    )


def _words_in(location: str) -> frozenset[str]:
    from pipeline.lm.estimate import text

    # Split as bytes: only ASCII white space separates words, here as in the text.
    blocks = text.blocks(text.expand([location]))
    words = frozenset(word.decode() for block in blocks for word in block.data.split())
    if not words:
        raise UsageError(f"{location}: no words in it")
    return words


def _try_on(model: str, held_out: list[str]) -> "Perplexity":
    from pipeline.lm.estimate.perplexity import perplexity
    from pipeline.lm.model import LanguageModel

    return perplexity(LanguageModel.open(model), held_out)


def _figures(model: "Estimate", tried: "Perplexity | None") -> dict[str, Any]:
    return {
        "words": model.num_words,
        "sentences": model.num_sentences,
        "vocabulary": len(model.words),
        "orders": [dataclasses.asdict(counts) for counts in model.counts],
        "perplexity": tried and dataclasses.asdict(tried),
    }


def _print(figures: dict[str, Any]) -> None:
    rows = [
        ("text", f"{figures['words']:,} words in {figures['sentences']:,} sentences"),
        ("vocabulary", f"{figures['vocabulary']:,} words with <unk>, <s> and </s>"),
    ]
    for order, counts in enumerate(figures["orders"], start=1):
        discounts = counts["discounts"]
        amounts = " ".join(f"{discounts[name]:.4f}" for name in ("one", "two", "more"))
        seen = f" of {counts['num_seen']:,}" if counts["num_kept"] != counts["num_seen"] else ""
        told = f"{counts['num_kept']:,}{seen}, discounts {amounts}{' (fallback)' if discounts['fallback'] else ''}"
        rows.append((f"{order}-grams", told))
    if tried := figures["perplexity"]:
        rows.append(
            ("perplexity", f"{tried['with_unknown']:,.2f} over {tried['num_tokens']:,} words and sentence ends")
        )
        if tried["without_unknown"] is not None:
            told = f"{tried['without_unknown']:,.2f} without the {tried['num_unknown']:,} unknown words"
            rows.append(("", told))
    rows.append(("output", f"{figures['output']}, {figures['bytes']:,} bytes"))
    rows.append(("time", clock(figures["wall_s"])))
    show.table(rows)


def _counts(text: str) -> list[int]:
    """`0` or `0,0,1,2`."""
    try:
        return [int(count) for count in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no count; give --prune after TEXT and OUT, or its counts as in 0,0,1,2"
        ) from None


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it as in 4GB or 500MB")
    return int(float(match[1]) * (1 << UNITS[match[2].upper()]))
