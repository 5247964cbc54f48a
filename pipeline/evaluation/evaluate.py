"""Evaluation from start to report: the rows of runs scored, figures derived from them, compared and written down.

Knows nothing of the command line, or of how a figure is found.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress
from posixpath import basename
from typing import Any

import pyarrow as pa

from pipeline import run as runs
from pipeline.config import Config
from pipeline.drive import drive
from pipeline.errors import naming
from pipeline.evaluation import calibration, compare, confusions, datasets, derived, worst
from pipeline.evaluation.gather import each, gather, tables
from pipeline.evaluation.names import Named
from pipeline.evaluation.output import Output
from pipeline.evaluation.rates import groups_by, rates
from pipeline.evaluation.reference_tables import Table
from pipeline.evaluation.request import Evaluated, EvaluationRequest
from pipeline.evaluation.results import RECORDINGS, Comparison, Evaluation, Example, Rate, Report
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Scores, in_common
from pipeline.evaluation.slices import slices, worst_slices
from pipeline.evaluation.speed import speed
from pipeline.evaluation.units import grouped
from pipeline.lock import Lock
from pipeline.progress import Progress
from pipeline.run import Run
from pipeline.score import ScoreSettings
from pipeline.session import ray_session

NUM_CONFUSIONS = 50  # of each kind
FEW_UNITS = 100  # up to so many, two million recordings, a Ray of our own takes longer to start than threads to score


@dataclass(frozen=True)
class Asked:
    runs: tuple[Named, ...]
    out: str
    config: Config = field(default_factory=Config)
    references: str | None = None  # path or URL of a table; None: those of the runs
    group: str | None = None  # the column whose values are resampled; None: recordings are
    slices: tuple[str, ...] | None = None  # columns; None: all with few values, and the derived ones
    price_per_hour: float | None = None
    num_worst: int = 20
    with_audio: bool = True
    overwrite: bool = False
    datasets: tuple[str, ...] = ()  # of a suite, whose runs are put beside each other by dataset, too


@dataclass(frozen=True)
class ScoredRun:
    """A run, its scored rows, and what figures are derived from."""

    name: str
    evaluated: Evaluated
    rows: Run
    scores: Scores


def evaluate(asked: Asked, progress: Progress) -> Report:
    """Score what is not scored, derive everything, and write it down."""
    output = Output(asked.out, asked.runs, asked.config.read.storage_deadline_s)
    output.check()
    requests = _requests(asked, output, progress)
    with Lock(output.folder) as lock:  # of two at once one would derive figures of what the other deletes
        _score(requests, asked, output, progress)
        scored = [_gathered(*each, progress) for each in zip(asked.runs, requests, strict=True)]
        evaluations = [_evaluation(one, asked, progress) for one in scored]
        comparisons = [_comparison(scored[0], other, asked, progress) for other in scored[1:]]
        by_dataset = _by_dataset(scored, asked) if asked.datasets else None
        judged_by = in_common([one.scores for one in scored])
        report = Report(tuple(evaluations), tuple(comparisons), by_dataset, judged_by)
        progress.phase("writing the report")
        lock.check()
        output.write(report, {one.name: one.evaluated.run for one in scored} if asked.with_audio else {})
    return report


# ---- scoring


def _requests(asked: Asked, output: Output, progress: Progress) -> list[EvaluationRequest]:
    """All of what could be refused is, before anything is done."""
    table = Table(asked.references, asked.config.read) if asked.references is not None else None
    requests = [_request(one, asked, output, table, progress) for one in asked.runs]
    for request in requests:
        if not request.is_done():
            request.check_references()
    return requests


def _score(requests: Sequence[EvaluationRequest], asked: Asked, output: Output, progress: Progress) -> None:
    with ExitStack() as held:
        are_left = [not request.is_done() for request in requests]
        if any(are_left):
            output.forget()  # what was derived of rows that will be others
        on_ray = [request for request in compress(requests, are_left) if request.config.run.cluster != "here"]
        if len(on_ray) > 1:
            progress.phase("starting Ray")
            held.enter_context(ray_session(asked.config.run))
        for request in requests:
            drive(request, progress)


def _request(one: Named, asked: Asked, output: Output, table: Table | None, progress: Progress) -> EvaluationRequest:
    evaluated = Evaluated.of(runs.find(one.url, asked.config.read.storage_deadline_s))
    config = asked.config
    few = len(grouped(evaluated.commits)) <= FEW_UNITS
    if config.run.address is None and config.run.cluster == "local" and few:
        config = replace(config, run=replace(config.run, address="here"))
    target = output.rows_of(one)
    request = EvaluationRequest(one.url, target, config, asked.overwrite, evaluated=evaluated, table=table)
    request.check()
    if not asked.overwrite and (changed := request.changed()):
        progress.note(f"{target}: other than before ({', '.join(changed)}), and so {one.name} is scored anew")
        request = replace(request, overwrite=True)
    return request


def _gathered(one: Named, request: EvaluationRequest, progress: Progress) -> ScoredRun:
    progress.phase(f"{one.name}: reading what was counted")
    rows = runs.find(request.folder.url, request.folder.deadline_s)
    for odd in rows.info()["odd"]:
        progress.warn(odd)
    return ScoredRun(one.name, request.evaluated, rows, gather(rows))


# ---- figures


def _evaluation(one: ScoredRun, asked: Asked, progress: Progress) -> Evaluation:
    scores, info, rows_info = one.scores, one.evaluated.info, one.rows.info()
    progress.phase(f"{one.name}: rates and their intervals")
    with naming(one.name):
        groups = groups_by(scores, asked.group)
        odd = [*_alone(scores, asked.group), *derived.warnings(scores, asked.slices)]
    with ThreadPoolExecutor(1, "rows") as beside:  # what is slow in either is done by one core
        looked_at = beside.submit(_seen, one.rows, asked.num_worst, scores.judged_by)
        found = rates(scores, groups)
        progress.phase(f"{one.name}: slices")
        sliced = slices(scores, groups, asked.slices)
        progress.phase(f"{one.name}: confusions and recordings")
        seen = looked_at.result()
    odd += _missed(seen.confused, scores.judged_by)
    for told in odd:
        progress.warn(told)
    return Evaluation(
        name=one.name,
        run=one.evaluated.url,
        model=info.get("model") or info["config"]["encode"]["model"],
        decoder=_decoder(info["decoding"]),
        normalizer=ScoreSettings(**rows_info["scoring"]).normalized,
        references=rows_info["references"] or "of the run",
        resampled=asked.group or RECORDINGS,
        num_resampled=groups.num,
        judged_by=scores.judged_by,
        coverage=scores.coverage,
        rates=found,
        words=scores.words.sum(),
        chars=scores.chars.sum(),
        phones=scores.phones.sum() if scores.phones else None,
        slices=sliced,
        worst_slices=worst_slices(sliced),
        confusions=seen.confused.words.top(NUM_CONFUSIONS),
        char_confusions=seen.confused.chars.top(NUM_CONFUSIONS),
        calibration=seen.sure.calibration(),
        speed=speed(one.evaluated.run, asked.price_per_hour, one.evaluated.commits),
        histogram=worst.histogram(scores),
        points=worst.points(scores),
        worst=seen.worst,
        warnings=(*rows_info["odd"], *odd),
        is_complete=one.evaluated.is_complete,
    )


def _alone(scores: Scores, group: str | None) -> list[str]:
    num = scores.columns[group].null_count if group else 0
    return [f"{num:,} of {len(scores):,} recordings have no {group}, and are resampled each by itself"] * bool(num)


def _missed(counts: confusions.Counts, level: Level) -> list[str]:
    """Of very many that are different."""
    most = {level.value: counts.words.num_missed, "characters": counts.chars.num_missed}
    return [
        f"the rarest confusions of {what} were forgotten while there were too many: any of them may be up to {num:,} "
        f"more frequent than is told"
        for what, num in most.items()
        if num
    ]


@dataclass(frozen=True)
class _Seen:
    """What is found in scored rows as they are, and not in their counts; of parts it adds."""

    confused: confusions.Counts
    sure: calibration.Counts
    worst: tuple[Example, ...]


def _seen(rows: Run, num_worst: int, level: Level) -> _Seen:
    """All of them are read once, as they are most of what there is."""

    def of(table: pa.Table) -> _Seen:
        found = worst.worst([table], num_worst, level)
        return _Seen(confusions.count(table, level), calibration.count(table, level), found)

    confused, sure, found = confusions.Counts(), calibration.Counts(), tuple[Example, ...]()
    for part in each(rows, of):
        confused, sure = confused + part.confused, sure + part.sure
        found = worst.first((*found, *part.worst), num_worst)
    settled = confusions.Counts(confused.words.settled(), confused.chars.settled())
    return _Seen(settled, sure, found)


def _decoder(decoding: dict[str, Any]) -> str:
    """The decoder, its lexicon and its language models, in a few words."""
    lexicon, models = decoding.get("lexicon"), decoding["models"]
    files = [lexicon["location"]] if lexicon else []
    files += [model["directory"] or model["location"] for model in models]
    return ", ".join([decoding["decoder"], *map(basename, files)])


def _comparison(first: ScoredRun, second: ScoredRun, asked: Asked, progress: Progress) -> Comparison:
    progress.phase(f"{second.name} beside {first.name}")
    before, after = (compare.Scored(one.name, one.scores, partial(tables, one.rows)) for one in (first, second))
    found = compare.compare(before, after, asked.group)
    for warning in _doubts(found):
        progress.warn(warning)
    return found


def _doubts(found: Comparison) -> list[str]:
    """No smaller denominator unsaid."""
    counts = {
        f"more of {found.first}": found.num_only_first,
        f"more of {found.second}": found.num_only_second,
        "scored against other references": found.num_references_differ,
    }
    left_out = [f"{num:,} {what}" for what, num in counts.items() if num]
    which = f"{found.second} beside {found.first}: {found.num_compared:,} recordings are compared by {found.level}"
    told = f"{which}, and left out are "
    return [told + ", ".join(left_out)] if left_out else []


def _by_dataset(scored: Sequence[ScoredRun], asked: Asked) -> dict[str, dict[str, Rate]]:
    resampled = {one.name: (one.scores, groups_by(one.scores, asked.group)) for one in scored}
    return datasets.by_dataset(resampled, asked.datasets)
