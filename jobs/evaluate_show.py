"""What `nightshift evaluate` prints for people."""

from collections.abc import Callable, Mapping, Sequence

from jobs import show
from pipeline.evaluation.output import FIGURES, PAGE, Output
from pipeline.evaluation.results import RECORDINGS, Comparison, Evaluation, Rate, Report
from pipeline.evaluation.rows import Level
from pipeline.intervals import FEW_GROUPS, FEWEST_GROUPS
from pipeline.progress import clock, hours

MOST_SLICES = 10  # of a run, the worst

Row = tuple[str, ...]


def report(found: Report, output: Output) -> None:
    """A column for each run, then what is worst in each, then the runs beside the first."""
    evaluations = found.evaluations
    heads = [("", *(one.name for one in evaluations))] * (len(evaluations) > 1)
    show.table([*heads, *_settings(evaluations), *_coverage(evaluations), *_rates(evaluations), *_speed(evaluations)])
    intervals(evaluations)
    if found.by_dataset:
        _datasets(found.by_dataset, [one.name for one in evaluations], found.judged_by)
    for one in evaluations:
        _worst_slices(one, len(evaluations) > 1)
    for pair in found.comparisons:
        compared(pair)
    print(f"\nReport:  {output.folder.url}/{PAGE}")
    print(f"Figures: {output.folder.url}/{FIGURES}")


def _line(name: str, evaluations: Sequence[Evaluation], told: Callable[[Evaluation], str]) -> list[Row]:
    """Nothing, where there is nothing to tell of any run."""
    cells = [told(one) for one in evaluations]
    return [(name, *cells)] if any(cells) else []


def _settings(evaluations: Sequence[Evaluation]) -> list[Row]:
    return [
        *_line("model", evaluations, lambda one: one.model),
        *_line("decoder", evaluations, lambda one: one.decoder),
        *_line("references", evaluations, lambda one: one.references),
        *_line("normalizer", evaluations, lambda one: one.normalizer),
    ]


def _coverage(evaluations: Sequence[Evaluation]) -> list[Row]:
    def scored(one: Evaluation) -> str:
        return f"{one.coverage.num_scored:,} of {one.coverage.num_recordings:,}"

    def failed(one: Evaluation) -> str:
        num, num_with = one.coverage.num_failed, one.coverage.num_failed_with_reference
        with_reference = f", {num_with:,} of them with a reference" if num_with else ""
        return f"{num:,}{with_reference}" if num else ""

    def without(one: Evaluation) -> str:
        return f"{one.coverage.num_without_reference:,}" if one.coverage.num_without_reference else ""

    return [
        *_line("recordings scored", evaluations, scored),
        *_line("  failed", evaluations, failed),
        *_line("  without a reference", evaluations, without),
    ]


def _rates(evaluations: Sequence[Evaluation]) -> list[Row]:
    rows = []
    rates: list[tuple[str, Callable[[Evaluation], Rate | None]]] = [
        ("word error rate", lambda one: one.rates.wer),
        ("  failed as if silent", lambda one: one.rates.failed_as_empty),
        ("character error rate", lambda one: one.rates.cer),
        ("match error rate", lambda one: one.rates.mer),
        ("word information lost", lambda one: one.rates.wil),
        ("phone error rate", lambda one: one.rates.per),
        ("oracle word error rate", lambda one: one.rates.oracle_wer),
        ("nothing heard", lambda one: one.rates.empty),
    ]
    for name, of in rates:
        rows += _line(name, evaluations, lambda one, of=of: _told(one, of(one)))  # type: ignore[misc]
    return rows


def _told(one: Evaluation, rate: Rate | None) -> str:
    """Of a run of phones nothing of words."""
    in_words = one.judged_by is Level.WORDS
    return _rate(rate if in_words or rate is None or rate.value is not None else None)


def speed(one: Evaluation) -> str:
    times = one.speed.times_real_time
    wall_s = one.speed.wall_s
    if times is None or wall_s is None:
        return ""
    told = f"{hours(one.speed.audio_s)} in {clock(wall_s)}{', decoding alone' * one.speed.is_of_decoding}"
    return f"{times:,.{0 if times >= 10 else 1}f} times real time ({told})"


def _speed(evaluations: Sequence[Evaluation]) -> list[Row]:
    def cost(one: Evaluation) -> str:
        of_an_hour = one.speed.cost_per_audio_hour
        told = "" if of_an_hour is None else f", {of_an_hour:,.4f} an hour of audio"
        return "" if one.speed.cost is None else f"{one.speed.cost:,.2f}{told}"

    return [*_line("speed", evaluations, speed), *_line("cost", evaluations, cost)]


def intervals(evaluations: Sequence[Evaluation]) -> None:
    """What they are, and of which runs there are none."""
    known = [one for one in evaluations if one.rate.interval]
    if known:
        few = any(one.num_resampled < FEW_GROUPS for one in known)
        doubt = f": of fewer than {FEW_GROUPS} they are too narrow" * few
        print(f"In brackets 95 % intervals, by resampling {_resampled(known)}{doubt}.")
    unknown = [one for one in evaluations if one.rate.value is not None and one not in known]
    if unknown:
        which = f" of {', '.join(one.name for one in unknown)}" * (len(evaluations) > 1)
        print(f"No intervals{which}, by resampling {_resampled(unknown)}: it takes {FEWEST_GROUPS} or more.")


def _resampled(evaluations: Sequence[Evaluation]) -> str:
    told = []
    for one in evaluations:
        s = "s" * (one.num_resampled != 1)
        what = f"recording{s}" if one.resampled == RECORDINGS else f"value{s} of {one.resampled}"
        told.append(f"{one.num_resampled:,} {what}")
    return " and ".join(dict.fromkeys(told))


def _datasets(rates: Mapping[str, Mapping[str, Rate]], names: Sequence[str], level: Level) -> None:
    print(f"\n{level.rate.capitalize()}s by dataset:")
    show.table([("", *names), *((dataset, *(_rate(of[name]) for name in names)) for dataset, of in rates.items())])


def _worst_slices(one: Evaluation, is_named: bool) -> None:
    if not one.worst_slices:
        return
    print(f"\nWorse than the rest, and probably not by chance{f', of {one.name}' if is_named else ''}:")
    rows = [("column", "value", "recordings", one.judged_by.rate, "above the rest by", "p, corrected")]
    rows += [
        (s.column, s.value, f"{s.num_recordings:,}", _rate(s.rate), _points(s.excess), _chance(s.p_corrected))
        for s in one.worst_slices[:MOST_SLICES]
    ]
    show.table(rows)
    if (left := len(one.worst_slices) - MOST_SLICES) > 0:
        print(f"and {left:,} more, which are in the report")


def compared(pair: Comparison) -> None:
    if not pair.num_compared:
        print(f"\n{pair.second} beside {pair.first}: no recording has {pair.level} that both have scored alike.")
        return
    print(f"\n{pair.second} beside {pair.first}, by {pair.num_compared:,} recordings that both have scored:")
    rows = [
        (pair.level.rate, f"{_rate(pair.first_rate)}  ->  {_rate(pair.second_rate)}"),
        ("difference", _rate(pair.difference, _points)),
        ("p", f"{_chance(pair.p_bootstrap)} by bootstrap, {_chance(pair.p_mapsswe)} by matched pairs"),
    ]
    show.table(rows)


def _rate(rate: Rate | None, shown: Callable[[float | None], str] | None = None) -> str:
    """With its interval; nothing for what was not looked at."""
    if rate is None:
        return ""
    if rate.value is None:
        return "undefined"
    shown = shown or _percent
    told = f" ({shown(rate.interval.low)} to {shown(rate.interval.high)})" if rate.interval else ""
    return f"{shown(rate.value)}{told}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _points(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.2f}"


def _chance(p: float | None) -> str:
    if p is None:
        return "unknown"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
