"""The sections of a page of several runs.

Knows nothing of the page around them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.results import RECORDINGS, Comparison, Difference, Evaluation, Rate, Report
from pipeline.evaluation.rows import Level
from pipeline.report import plots, recordings
from pipeline.report.formats import (
    NOTHING,
    count,
    interval,
    of,
    percent,
    points,
    points_between,
    probability,
    sure,
    times,
)
from pipeline.report.headline import alert
from pipeline.report.html import Child, Html, element, markup, of_data
from pipeline.report.shell import Section
from pipeline.report.tables import Cell, Column, Row, facts, table

if TYPE_CHECKING:
    from pipeline.report.audio import Sound

MOST_PAIRS, FEWEST_PAIRS = 60, 3  # recordings that are shown: together, and of each comparison
NUM_RATES = 5  # of the figures of a comparison, the first; the others are counts
LOWEST = "\u25cf"
DIFFERENT = (
    ("normalizer", "Texts were compared by different rules"),
    ("references", "References differ"),
    ("judged_by", "Runs are judged by different things"),
)


def doubts(report: Report) -> Html | None:
    """Why rates that stand beside each other might not be comparable."""
    told = []
    for name, what in DIFFERENT:
        values = dict.fromkeys(getattr(one, name) for one in report.evaluations)
        if len(values) > 1:
            told.append(f"{what}: {'; '.join(values)}.")
    for one in report.evaluations:
        if num_out := one.coverage.num_recordings - one.coverage.num_scored:
            told.append(
                f"{one.name}: {count(num_out)} of {of(one.coverage.num_recordings, 'recording')} are not in its rates."
            )
        told += [f"{one.name}: {warning}" for warning in one.warnings]
    return alert("To be known:", told)


def runs(report: Report, links: Mapping[str, str]) -> Section:
    has_phones = any(one.rates.per is not None for one in report.evaluations)
    has_words = any(one.judged_by is Level.WORDS for one in report.evaluations)
    has_cost = any(one.speed.cost is not None for one in report.evaluations)
    rates = [*["WER", "95% interval", "CER"] * has_words, *["PER", "95% interval"] * has_phones]
    titles = [*rates, "Scored", "Not scored", "Times real time", *["Cost of an audio hour"] * has_cost]
    columns = [Column("Run", numeric=False), *map(Column, titles)]
    rows = [_run(one, links.get(one.name), has_words, has_phones, has_cost) for one in report.evaluations]
    plot = plots.headlines(report.evaluations, report.judged_by)
    content = markup(plot.html() if plot else None, table("Runs side by side", columns, rows))
    return Section("runs", "Runs", content)


def _run(one: Evaluation, link: str | None, has_words: bool, has_phones: bool, has_cost: bool) -> Row:
    name, wer, cer, per = of_data(one.name), one.rates.wer, one.rates.cer, one.rates.of(Level.PHONES)
    words: Row = [Cell(percent(wer.value), wer.value), interval(wer.interval), Cell(percent(cer.value), cer.value)]
    phones: Row = [Cell(percent(per.value), per.value), interval(per.interval)]
    coverage, speed = one.coverage, one.speed
    num_out = coverage.num_recordings - coverage.num_scored
    fast = speed.times_real_time
    cost = speed.cost_per_audio_hour
    return [
        element("a", name, href=f"./{link}") if link else name,
        *(words if has_words else []),
        *(phones if has_phones else []),
        Cell(count(coverage.num_scored), coverage.num_scored),
        Cell(count(num_out), num_out),
        Cell(NOTHING if fast is None else times(fast) + ", decoding alone" * speed.is_of_decoding, fast),
        *([Cell(NOTHING if cost is None else f"{cost:,.4f}", cost)] if has_cost else []),
    ]


def settings(report: Report) -> Section:
    columns = [Column(name, numeric=False) for name in ("Run", "Model", "Decoder", "Normaliser", "References", "Where")]
    rows: list[Row] = [
        [of_data(told) for told in (one.name, one.model, one.decoder, one.normalizer, one.references, one.run)]
        for one in report.evaluations
    ]
    return Section("compared", "What was compared", table("Settings of the runs", columns, rows))


def datasets(report: Report) -> list[Section]:
    if not report.by_dataset:
        return []
    names = list(dict.fromkeys(name for rates in report.by_dataset.values() for name in rates))
    columns = [Column("Dataset", numeric=False), *(Column(of_data(name)) for name in names)]
    rows: list[Row] = [
        [of_data(dataset), *_rates([rates.get(name) for name in names])] for dataset, rates in report.by_dataset.items()
    ]
    which = f"{report.judged_by.rate.capitalize()}s"
    note = element("p", f"{which} with 95% intervals; {LOWEST} marks the lowest of a dataset.", class_="note")
    return [Section("datasets", "By dataset", markup(note, table(f"{which} by dataset", columns, rows)))]


def _rates(rates: Sequence[Rate | None]) -> Row:
    values = [rate.value for rate in rates if rate is not None and rate.value is not None]
    return [_rate(rate, is_best=len(values) > 1 and rate.value == min(values)) if rate else NOTHING for rate in rates]


def _rate(rate: Rate, is_best: bool) -> Cell:
    told = element("strong", f"{LOWEST} {percent(rate.value)}") if is_best else percent(rate.value)
    return Cell([told, " ", element("small", interval(rate.interval))], rate.value)


def ids(report: Report) -> list[str]:
    """Of the recordings that are shown."""
    shown = (one.first.id for comparison in report.comparisons for one in _shown(comparison, report))
    return list(dict.fromkeys(shown))


def _shown(comparison: Comparison, report: Report) -> Sequence[Difference]:
    return comparison.most_different[: max(FEWEST_PAIRS, MOST_PAIRS // len(report.comparisons))]


def pairs(report: Report, sounds: Mapping[str, "Sound"]) -> list[Section]:
    """Each comparison, with as many recordings as leave a page that opens fast."""
    placed: dict[str, Sound | str] = dict(sounds)
    made = []
    for number, comparison in enumerate(report.comparisons, 1):
        name, shown = f"pair-{number}", _shown(comparison, report)
        made.append(_pair(comparison, shown, name, placed))
        for at, one in enumerate(shown, 1):
            if not isinstance(placed.get(one.first.id, ""), str):
                placed[one.first.id] = f"{name}-{at}"
    return made


def _pair(one: Comparison, shown: Sequence[Difference], name: str, sounds: Mapping[str, "Sound | str"]) -> Section:
    first, second = of_data(one.first), of_data(one.second)
    figures: list[tuple[Child, Child]] = [
        ([f"{one.level.short} of ", first], sure(one.first_rate)),
        ([f"{one.level.short} of ", second], sure(one.second_rate)),
        ("Difference", f"{points(one.difference.value)} points ({points_between(one.difference.interval)})"),
        ("p by paired bootstrap", probability(one.p_bootstrap)),
        ("p by matched pairs (MAPSSWE)", _by_segments(one)),
        (f"Recordings that both have scored in {one.level}", count(one.num_common)),
        (["More of ", first], count(one.num_only_first)),
        (["More of ", second], count(one.num_only_second)),
    ]
    if one.num_references_differ:
        told = f"{count(one.num_references_differ)}, left out: they were scored against other references"
        figures.append(("References differ", told))
    none = element("p", "No recording was heard differently.", class_="note")
    most = [
        element("h3", "Where they differ most"),
        recordings.differences(one, shown, name, sounds) if shown else none,
    ]
    is_known = one.difference.value is not None
    content = markup(
        element("p", _verdict(one), class_="verdict"),
        _left_out(one),
        facts(figures if is_known else figures[NUM_RATES:]),
        most if is_known else None,
    )
    return Section(name, [second, " and ", first], content)


def _by_segments(one: Comparison) -> Child:
    if one.p_mapsswe is None:
        return f"too few segments ({one.num_segments:,})"
    told = f"{probability(one.p_mapsswe)}, of {of(one.num_segments, 'segment')}"
    return told if one.resampled == RECORDINGS else [f"{told}, whatever the ", of_data(one.resampled)]


def _verdict(one: Comparison) -> Child:
    first, second, found = of_data(one.first), of_data(one.second), one.difference
    if found.value is None:
        told = f"no recording with {one.level} in its reference was scored in {one.level} by both"
        return f"There is nothing to compare: {told}."
    if found.value == 0:
        return [f"The {one.level.rate}s of ", second, " and ", first, " are the same."]
    which = "lower" if found.value < 0 else "higher"
    size = element("strong", f"{abs(100 * found.value):.2f} percentage points {which}")
    if found.interval is None or one.p_bootstrap is None:
        sureness = "too few to tell whether by chance"
    elif found.interval.low <= 0 <= found.interval.high:
        sureness = "which may be chance: the 95% interval includes zero"
    else:
        sureness = "by more than chance"
    return [f"The {one.level.rate} of ", second, " is ", size, " than that of ", first, f", {sureness}."]


def _left_out(one: Comparison) -> Html | None:
    num_out = one.num_only_first + one.num_only_second + one.num_references_differ
    if not num_out:
        return None
    out = of(num_out, "other is", "others are")
    told = f"Over {of(one.num_compared, 'recording')} that both have scored; {out} left out."
    return element("p", told, class_="alert")
