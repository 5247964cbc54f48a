"""`nightshift bench decode`: the beam search beside pyctcdecode, on simulated emissions of four difficulties.

Everything it needs is made on the spot: text from installed packages, a language model of it, emissions of held-out
sentences. The first run takes minutes longer; delete the folder to make all of it anew.
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
    from jobs.bench_material import Calibration, Sample
    from jobs.bench_measure import Soak, Speed, Spread, Threads
    from jobs.bench_search import Found

DIFFICULTIES = ("clean", "mid", "noisy", "diffuse")
SEARCHED = "mid"
SOAK = 200_000
BUSY = 0.5  # load before we begin


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num-utterances", type=int, default=400, metavar="N", help="of each difficulty; default 400")
    told = f"only this one of {', '.join(DIFFICULTIES)}; may be repeated"
    parser.add_argument("--difficulty", action="append", choices=DIFFICULTIES, metavar="D", help=told)
    parser.add_argument("--lm", metavar="FILE", help="default: a 4-gram model of text found on this machine")
    parser.add_argument("--work", metavar="DIR", default="build/bench-decode", help="where text and model are kept")
    told = f"then decode N utterances ({SOAK:,}) and watch the memory"
    parser.add_argument("--soak", type=int, nargs="?", const=SOAK, metavar="N", help=told)
    parser.add_argument("--search", action="store_true", help=f"then find the best search width on {SEARCHED}")


def run(options: argparse.Namespace) -> int:
    for name in ("num_utterances", "soak"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    figures: dict[str, Any] = {"machine": machine(("numpy", "numba"))}
    report = _Report(quiet=options.json)
    _measure(options, figures, report)
    print(json.dumps(figures))
    return 0


def _measure(options: argparse.Namespace, figures: dict[str, Any], report: "_Report") -> None:
    """Fill in the figures, and show each part as it is there."""
    from jobs import bench_material, bench_measure, bench_search
    from jobs.bench_material import say
    from pipeline.decode.beam import warm_up

    work, num = Path(options.work), options.num_utterances
    text = bench_material.text_of(work)
    lm = options.lm or str(bench_material.language_model_of(work, text))
    say("compiling the search, or loading what was compiled before")
    warm_up_s = warm_up()
    searches = bench_measure.Searches(lm)
    figures |= {"text": asdict(text), "lm": lm, "lm_words": len(searches.unigrams), "warm_up_s": warm_up_s}
    report.setting(figures)

    lines = bench_material.utterances(work, num)
    names = [name for name in DIFFICULTIES if name in (options.difficulty or DIFFICULTIES)]
    samples = [bench_material.sample(name, lines) for name in names]
    calibrations = {sample.difficulty: bench_material.calibration(sample) for sample in samples}
    figures["calibration"] = {name: asdict(calibration) for name, calibration in calibrations.items()}
    report.calibrations(calibrations, samples)

    named = bench_measure.decoders(searches)
    speeds: dict[str, list[Speed]] = {}
    late: list[str] = []
    for sample in samples:
        say(f"{sample.difficulty}: {num:,} utterances, {sample.audio_s:,.0f} s of audio, by {'; '.join(named)}")
        bench_measure.prepare(sample, named)
        with bench_measure.compiled_meanwhile() as compiled:
            speeds[sample.difficulty] = bench_measure.side_by_side(sample, named)
        late += compiled
    figures["decoders"] = {name: [asdict(speed) for speed in of_one] for name, of_one in speeds.items()}
    figures |= {"missing": bench_measure.missing(), "compiled_late": late}
    report.speeds(speeds, figures["missing"], late)

    say("one thread and two")
    every = [emissions for sample in samples for emissions in sample.emissions]
    threads = bench_measure.two_threads(searches.default, every)
    figures["threads"] = asdict(threads) if threads else None
    report.threads(threads, figures["machine"]["load"])

    if options.soak:
        soak = bench_measure.soak(searches.default, names, bench_material.utterances(work, 10**5), options.soak)
        figures["soak"] = asdict(soak) | {"growth_bytes": soak.growth_bytes}
        report.soak(soak)
    if options.search:
        unseen = bench_material.utterances(work, num, skipped=num)  # others than those of the table above
        settings = bench_search.grid()
        say(f"search: {len(settings)} settings on {num:,} other utterances of {SEARCHED}")
        found = bench_search.find_width(searches.default, bench_material.sample(SEARCHED, unseen, num), settings)
        figures["search"] = asdict(found)
        report.search(found)


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
                ("compiled or loaded in", f"{figures['warm_up_s']:.1f} s, which are counted nowhere"),
            ]
        )

    def calibrations(self, calibrations: "dict[str, Calibration]", samples: "list[Sample]") -> None:
        table = self._table("What was simulated (and what is aimed at)", "", "audio", "labels a frame", "best label")
        table.add_column("greedy WER", justify="right")
        for sample in samples:
            one = calibrations[sample.difficulty]
            table.add_row(
                sample.difficulty,
                f"{sample.audio_s:,.0f} s",
                f"{one.num_likely:.2f} ({one.target_num_likely:.2f})",
                f"{one.max_p:.3f} ({one.target_max_p:.3f})",
                f"{one.greedy_wer:.1%} ({one.target_greedy_wer:.1%})",
            )
        self._console.print(table)

    def speeds(self, speeds: "dict[str, list[Speed]]", missing: list[str], late: list[str]) -> None:
        columns = ("audio s / CPU s", "WER", "times pyctcdecode", "same texts", "same scores")
        table = self._table("One core, beam 100", "", "", *columns)
        for difficulty, of_one in speeds.items():
            for number, speed in enumerate(of_one):
                table.add_row(
                    "" if number else difficulty,
                    speed.decoder,
                    f"{speed.audio_s_per_cpu_s:,.0f}",
                    f"{speed.wer:.2%}",
                    _spread(speed.times_rival) if speed.times_rival else "",
                    "" if speed.same_texts is None else _share(speed.same_texts),
                    "" if speed.same_scores is None else _share(speed.same_scores),
                )
            table.add_section()
        self._console.print(table)
        if missing:
            self._console.print(
                f"Not compared with pyctcdecode, as {' and '.join(missing)} is not installed: `make decoders` does it."
            )
        if late:
            self._console.print(f"Compiled while it was measured, so our figures are too low: {', '.join(late)}.")

    def threads(self, threads: "Threads | None", load: float) -> None:
        told = "Threads: not measured, for there is one CPU."
        if threads is not None:
            told = (
                f"Threads: one {threads.one_audio_s_per_s:,.0f}, two {threads.two_audio_s_per_s:,.0f} audio seconds "
                f"a second of wall time: {_spread(threads.ratio, 2)} times."
            )
        if load > BUSY:
            told += f" Other processes were running (load {load:.1f}), which makes this too low."
        self._console.print(f"\n{told}")

    def soak(self, soak: "Soak") -> None:
        memory = ", ".join(f"{resident / 2**20:,.1f}" for resident in soak.resident_bytes)
        self._console.print(
            f"Soak: {soak.num_utterances:,} utterances, {soak.audio_s / 3600:,.1f} h of audio in {soak.cpu_s:,.0f} CPU "
            f"seconds. MiB before and after each tenth: {memory}. From the first tenth to the last: "
            f"{soak.growth_bytes / 2**20:+.1f} MiB."
        )

    def search(self, found: "Found") -> None:
        from jobs.bench_search import LEAST_SPEED, worth_showing

        columns = ("label least", "prune", "audio s / CPU s", "WER", "95 % interval", "against the default", "narrowed")
        title = f"Search width on {SEARCHED}: those of {len(found.tried)} settings that none beats in both"
        table = self._table(title, "beam", *columns)
        for one in worth_showing(found):
            mark = " (default)" if one.setting == found.default else ""
            mark += " (chosen)" if one.setting == found.chosen else ""
            table.add_row(
                f"{one.setting.beam_width}{mark}",
                f"{one.setting.token_min_logp:g}",
                f"{one.setting.beam_prune_logp:g}",
                f"{one.audio_s_per_cpu_s:,.0f}",
                f"{one.wer:.2%}",
                f"{one.interval[0]:.2%} to {one.interval[1]:.2%}",
                f"{one.against_default[0]:+.2%} to {one.against_default[1]:+.2%}",
                f"{one.narrowed:.1%}",
            )
        self._console.print(table)
        self._console.print(
            f"No setting makes {LEAST_SPEED:,.0f} audio seconds per core second."
            if found.chosen is None
            else f"Lowest WER at {LEAST_SPEED:,.0f} audio seconds per core second: {found.chosen}"
        )
        self._console.print(
            "Some letters have the truth at 1e-5 here, which rewards unlikely labels more than speech may."
        )

    def _table(self, title: str, *columns: str) -> Table:
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if column == "" or number == 0 else "right")
        if not self._quiet:
            self._console.print()
        return table


def _spread(spread: "Spread", digits: int = 1) -> str:
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f} to {spread.most:.{digits}f})"


def _share(share: float) -> str:
    """Never 100 % where one is missing."""
    return "100 %" if share == 1 else f"{min(share, 0.999):.1%}"
