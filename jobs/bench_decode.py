"""`nightshift bench decode`: the beam search beside pyctcdecode, on simulated emissions and the bundled model's.

Everything that is not bundled is made on the spot: text from installed packages, a language model of it, emissions of
held-out sentences in four difficulties; and what the bundled model makes of the bundled corpus, decoded with the
bundled language model. The first run takes minutes longer; delete the folder to make all of it anew.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.bench_decode_tables import BUNDLED, SEARCHED, Report
from jobs.bench_machine import machine
from pipeline.errors import UsageError

if TYPE_CHECKING:  # they import numpy and numba
    from jobs.bench_material import Sample
    from jobs.bench_measure import Searches, Speed

DIFFICULTIES = ("clean", "mid", "noisy", "diffuse")
SOAK = 200_000


def add_arguments(parser: argparse._ActionsContainer) -> None:
    told = f"of each difficulty, and of {BUNDLED} at most so many; default 400"
    parser.add_argument("--num-utterances", type=int, default=400, metavar="N", help=told)
    told = (
        f"only this one of {', '.join(DIFFICULTIES)}, which are simulated, and {BUNDLED}, what the bundled model makes "
        "of the bundled corpus; may be repeated"
    )
    parser.add_argument("--difficulty", action="append", choices=(*DIFFICULTIES, BUNDLED), metavar="D", help=told)
    told = f"for all but {BUNDLED}, which has its own; default: a 4-gram model of text found on this machine"
    parser.add_argument("--lm", metavar="FILE", help=told)
    told = "where text, model and the bundled model's emissions are kept"
    parser.add_argument("--work", metavar="DIR", default="build/bench-decode", help=told)
    told = f"then decode N simulated utterances ({SOAK:,}) and watch the memory"
    parser.add_argument("--soak", type=int, nargs="?", const=SOAK, metavar="N", help=told)
    parser.add_argument("--search", action="store_true", help=f"then find the best search width on {SEARCHED}")


def run(options: argparse.Namespace) -> int:
    for name in ("num_utterances", "soak"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    if _asked(options) == [BUNDLED]:
        for name in ("soak",) if options.search else ("soak", "lm"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is for simulated emissions: ask for a --difficulty besides {BUNDLED}")
    figures: dict[str, Any] = {"machine": machine(("numpy", "numba"))}
    report = Report(quiet=options.json)
    _measure(options, figures, report)
    print(json.dumps(figures))
    return 0


def _measure(options: argparse.Namespace, figures: dict[str, Any], report: Report) -> None:
    """Fill in the figures, and show each part as it is there."""
    from jobs import bench_material, bench_measure, bench_search
    from jobs.bench_material import say
    from pipeline.decode.beam import warm_up

    work, num, asked = Path(options.work), options.num_utterances, _asked(options)
    names = [name for name in asked if name != BUNDLED]
    say("compiling the search, or loading what was compiled before")
    figures["warm_up_s"] = warm_up()
    groups: list[tuple[Searches, list[Sample]]] = []
    if names or options.search:
        searches = _searches(options, figures)
    if names:
        lines = bench_material.utterances(work, num)
        groups.append((searches, [bench_material.sample(name, lines) for name in names]))
    if BUNDLED in asked and (group := _bundled(options, figures)):
        groups.append(group)
    report.setting(figures)

    samples = [sample for _, some in groups for sample in some]
    calibrations = {sample.difficulty: bench_material.calibration(sample) for sample in samples}
    figures["calibration"] = {name: asdict(calibration) for name, calibration in calibrations.items()}
    report.calibrations(calibrations, samples)
    _compare(groups, figures, report)

    say("one thread and two")
    first, some = groups[0]  # what is simulated, where something is
    threads = bench_measure.two_threads(first.default, [one for sample in some for one in sample.emissions])
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


def _asked(options: argparse.Namespace) -> list[str]:
    return [name for name in (*DIFFICULTIES, BUNDLED) if name in (options.difficulty or (*DIFFICULTIES, BUNDLED))]


def _compare(groups: "list[tuple[Searches, list[Sample]]]", figures: dict[str, Any], report: Report) -> None:
    """Every decoder on every sample, with its group's language model."""
    from jobs import bench_measure
    from jobs.bench_material import say

    speeds: dict[str, list[Speed]] = {}
    late: list[str] = []
    for searches, some in groups:
        named = bench_measure.decoders(searches)
        for sample in some:
            audio = f"{len(sample.texts):,} utterances, {sample.audio_s:,.0f} s of audio"
            say(f"{sample.difficulty}: {audio}, by {'; '.join(named)}")
            bench_measure.prepare(sample, named)
            with bench_measure.compiled_meanwhile() as compiled:
                speeds[sample.difficulty] = bench_measure.side_by_side(sample, named)
            late += compiled
    figures["decoders"] = {name: [asdict(speed) for speed in of_one] for name, of_one in speeds.items()}
    figures |= {"missing": bench_measure.missing(), "compiled_late": late}
    report.speeds(speeds, figures["missing"], late)


def _searches(options: argparse.Namespace, figures: dict[str, Any]) -> "Searches":
    """For what is simulated, with a language model of the text that is simulated."""
    from jobs import bench_material
    from jobs.bench_measure import Searches

    work = Path(options.work)
    text = bench_material.text_of(work)
    lm = options.lm or str(bench_material.language_model_of(work, text))
    searches = Searches(lm)
    figures |= {"text": asdict(text), "lm": lm, "lm_words": len(searches.unigrams)}
    return searches


def _bundled(options: argparse.Namespace, figures: dict[str, Any]) -> "tuple[Searches, list[Sample]] | None":
    """What is bundled; None where it is not there but there is something else to decode."""
    from jobs import bench_bundled
    from jobs.bench_material import say
    from jobs.bench_measure import Searches
    from pipeline.demo import bundled

    if absent := bench_bundled.absent():
        if _asked(options) == [BUNDLED]:
            raise UsageError(f"{absent[0]} is not there: {BUNDLED} needs what only the repository of nightshift has")
        figures["bundled"] = {"absent": absent}
        return None
    say(f"{BUNDLED}: the model's emissions of the corpus, or those computed before")
    heard = bench_bundled.heard(Path(options.work), options.num_utterances)
    searches = Searches(str(bundled.LM))
    told = {"model": heard.model, "num_recordings": heard.num_recordings, "num_failed": heard.num_failed}
    figures["bundled"] = told | {"lm": str(bundled.LM), "lm_words": len(searches.unigrams)}
    return searches, [heard.sample]
