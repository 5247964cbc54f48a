"""`nightshift bench words`: words from phones beside flashlight-text's lexicon decoder, on simulated phone emissions.

Text and language model are those of `bench decode`, made on the spot; the lexicon is what espeak makes of its words.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import show
from jobs.bench_machine import machine
from pipeline.errors import UsageError

if TYPE_CHECKING:  # they import numpy and numba
    from jobs.bench_material import Sample
    from jobs.bench_words_measure import Measured

DIFFICULTIES = ("clean", "mid")
TUNED_OF = 2  # of the other utterances one in so many for the weights: each of a grid decodes them; all for the widths


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num-utterances", type=int, default=200, metavar="N", help="of each difficulty; default 200")
    told = f"only this one of {', '.join(DIFFICULTIES)}; may be repeated"
    parser.add_argument("--difficulty", action="append", choices=DIFFICULTIES, metavar="D", help=told)
    parser.add_argument("--lm", metavar="FILE", help="default: a 4-gram model of text found on this machine")
    parser.add_argument("--work", metavar="DIR", default="build/bench-decode", help="where text and model are kept")


def run(options: argparse.Namespace) -> int:
    if options.num_utterances < 1:
        raise UsageError(f"--num-utterances must be at least 1, not {options.num_utterances}")
    chosen = options.difficulty or DIFFICULTIES
    if strange := set(chosen) - set(DIFFICULTIES):
        raise UsageError(f"--difficulty {strange.pop()} is of `bench decode`; here there are {', '.join(DIFFICULTIES)}")
    figures: dict[str, Any] = {"machine": machine(("numpy", "numba"))}
    _measure(options, [name for name in DIFFICULTIES if name in chosen], figures, _Report(options.json))
    print(json.dumps(figures))
    return 0


def _measure(options: argparse.Namespace, difficulties: list[str], figures: dict[str, Any], report: "_Report") -> None:
    """Fill in the figures, and show each part as it is there."""
    from jobs import bench_material, bench_words_measure, bench_words_sides
    from jobs.bench_material import Sample, say
    from pipeline.decode.options import MARKS
    from pipeline.decode.phones.search import warm_up
    from pipeline.lm.model import LanguageModel

    work, num = Path(options.work), options.num_utterances
    text = bench_material.text_of(work)
    lm = options.lm or str(bench_material.language_model_of(work, text))
    words = [word for word in LanguageModel.open(lm).words() if word not in MARKS]
    say(f"espeak says {len(words):,} words")
    lines = bench_material.utterances(work, 2 * num)
    lexicon = bench_words_sides.Lexicon(words, lines)
    measured, tuning = (lexicon.speakable(part) for part in (lines[:num], lines[num:]))
    say("compiling the search, or loading what was compiled before")
    ours = bench_words_sides.our_search(lm, lexicon.entries)
    figures |= {"text": asdict(text), "lm": lm, "lm_words": len(words), "warm_up_s": warm_up(ours)}
    figures |= {"lexicon": len(lexicon.entries), "unreachable": lexicon.num_unreachable}
    figures["missing"] = bench_words_sides.missing()
    report.setting(figures)
    theirs = None if figures["missing"] else bench_words_sides.Flashlight(lm, lexicon.entries)
    others = {name: lexicon.sample(name, tuning, num) for name in difficulties}
    some = [Sample(name, one.texts[::TUNED_OF], one.emissions[::TUNED_OF]) for name, one in others.items()]
    weights = bench_words_measure.tuned(some, ours, theirs)
    figures["weights"] = {name: {"alpha": one.alpha, "beta": one.beta} for name, one in weights.items()}
    report.weights(figures["weights"])
    named = bench_words_measure.decoders(weights, ours, theirs)
    figures |= {"greedy_phone_errors": {}, "measured": {}}
    for name in difficulties:
        sample = lexicon.sample(name, measured, 0)
        per = bench_words_measure.greedy_errors(sample, lexicon)
        found = bench_words_measure.measure(sample, named, bench_words_measure.pairs(others[name], named))
        figures["greedy_phone_errors"][name], figures["measured"][name] = per, asdict(found)
        report.measured(sample, per, found)
    report.missing(figures["missing"])


class _Report:
    """Tables for people, on stdout."""

    def __init__(self, quiet: bool) -> None:
        self._console, self._quiet = show.console(quiet), quiet

    def setting(self, figures: dict[str, Any]) -> None:
        if self._quiet:
            return
        text, machine = figures["text"], figures["machine"]
        packages = ", ".join(f"{name} {told}" for name, told in machine["packages"].items())
        show.table(
            [
                ("machine", f"{machine['processor']}, {machine['cpus']} CPUs, load {machine['load']:.1f}"),
                ("software", f"Python {machine['python']}, {packages}"),
                ("text", f"{text['num_train_words']:,} words; {text['num_held_out_words']:,} more are held out"),
                ("language model", f"{figures['lm']}, {figures['lm_words']:,} words"),
                ("lexicon", f"{figures['lexicon']:,} words by espeak, {figures['unreachable']:,} not to be said here"),
                ("compiled or loaded in", f"{figures['warm_up_s']:.1f} s, which are counted nowhere"),
            ]
        )

    def weights(self, weights: dict[str, dict[str, float]]) -> None:
        told = "; ".join(f"{name} alpha {one['alpha']:g}, beta {one['beta']:g}" for name, one in weights.items())
        self._console.print(f"\nWeights of the language model, tuned on other utterances: {told}")

    def measured(self, sample: "Sample", per: float, found: "Measured") -> None:
        if self._quiet:
            return
        from pipeline.demo import phones

        aim = phones.DIFFICULTIES[sample.difficulty].target_greedy_errors
        title = (
            f"{sample.difficulty}: {sample.audio_s:,.0f} s, {per:.1%} of phones wrong by the best path (aim {aim:.1%})"
        )
        table = self._table(title, "", "width", "audio s / CPU s", "WER", "95 % interval")
        for row in found.rows:
            low, high = row.interval
            speed = f"{row.audio_s_per_cpu_s:,.0f}"
            table.add_row(row.decoder, row.width, speed, f"{row.wer:.2%}", f"{low:.2%} to {high:.2%}")
        self._console.print(table)
        self._compared(found)

    def _compared(self, found: "Measured") -> None:
        if found.comparisons:
            told = "The fastest of ours with no more word errors on other utterances, on these"
            table = self._table(
                told, "flashlight-text", "ours", "times as fast", "WER, less theirs", "95 % interval", ""
            )
            for one in found.comparisons:
                low, high = one.interval
                times = f"{one.times.median:.1f} ({one.times.least:.1f} to {one.times.most:.1f})"
                worse = "more errors than theirs" if one.difference > 0 else ""
                ours, theirs = (name.rpartition(" ") for name in (one.ours, one.theirs))
                width = theirs[2] + ", log-add" * theirs[0].endswith("log-add")
                difference, interval = f"{one.difference:+.2%}", f"{low:+.2%} to {high:+.2%}"
                table.add_row(width, ours[2], times, difference, interval, worse)
            self._console.print(table)
        for name in found.unmatched:
            self._console.print(f"{name}: on other utterances every width of ours has more word errors.")

    def missing(self, missing: list[str]) -> None:
        if missing:
            told = " and ".join(missing)
            self._console.print(f"Not compared with flashlight-text, as {told} is not installed: pip install {told}")

    def _table(self, title: str, *columns: str) -> Table:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number < 2 else "right")
        self._console.print()
        return table
