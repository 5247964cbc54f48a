"""The plots of a page: what each shows, how, and the numbers behind it.

Knows nothing of how a figure becomes part of a page (`svg`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.results import Calibration, Evaluation, Point, Speed
from pipeline.evaluation.rows import Level
from pipeline.report.formats import count, decimal, interval, of, percent, times
from pipeline.report.html import Html, element, fit, of_data
from pipeline.report.svg import ACCENT, MUTED, SECOND, drawing, inline
from pipeline.report.tables import Cell, Column, Row, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_GROUPS, FEWEST_GROUPS, FEWEST_IN_GROUP = 10, 3, 20  # of points, for the line of means
WIDE = 30  # times the shortest that the longest is, from where on an axis is logarithmic
TOP, LEAST_TOP = 1.0, 0.05  # a rate above the first is shown at the edge
UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))  # from when, of how long, called

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plot:
    name: str  # its own on the page
    title: str
    told: str  # what is to be seen, in a sentence or two
    drawn: Html
    numbers: Html  # a table

    def html(self) -> Html:
        behind = element("details", element("summary", "The numbers"), self.numbers, class_="numbers")
        told = element("figcaption", element("h3", self.title), element("p", self.told))
        return element("figure", told, self.drawn, behind, class_="plot")


@dataclass(frozen=True)
class Group:
    """Points that are near each other on the horizontal axis."""

    low: float
    high: float
    num: int
    mean: float


def by_duration(points: Sequence[Point], level: Level, num_all: int) -> Plot | None:
    """Of a sample of so many recordings."""
    known = [(point.duration_s, point.rate) for point in points]
    return _against("duration", known, level, "duration in seconds", num_all)


def by_confidence(points: Sequence[Point], level: Level, num_all: int) -> Plot | None:
    known = [(point.confidence, point.rate) for point in points]
    return _against("confidence", known, level, "confidence", num_all)


def _against(
    name: str, pairs: Sequence[tuple[float | None, float]], level: Level, label: str, num_all: int
) -> Plot | None:
    """Each recording's rate, and the mean of those near each other; None without a number to plot against."""
    known = [(x, rate) for x, rate in pairs if x is not None and np.isfinite(x)]
    if not known:
        return None
    title = f"By {name}"
    xs, rates = (np.array(values, np.float64) for values in zip(*known, strict=True))
    found = groups(xs, rates)
    with drawing() as (figure, axes):
        _scatter(axes, xs, rates, level)
        if len(found) >= FEWEST_GROUPS:
            middles = [float(np.median(xs[(xs >= one.low) & (xs <= one.high)])) for one in found]
            means = [min(one.mean, TOP) for one in found]
            axes.plot(middles, means, color=SECOND, linewidth=2.2, marker="s", markersize=3.6)
        if name == "duration" and xs.min() > 0 and xs.max() / xs.min() > WIDE:
            axes.set_xscale("log")
            axes.set_xticks(_round_numbers(float(xs.min()), float(xs.max())))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        axes.set_xlabel(label)
        told = _which(name, len(known), len(pairs), num_all) + _seen(found, int((rates > TOP).sum()))
        drawn = inline(figure, name, title, f"{level.rate.capitalize()} of recordings by their {label}. {told}")
    columns = [Column(label.capitalize(), numeric=False), Column("Recordings"), Column(f"Mean {level.short}")]
    rows: list[Row] = [
        [f"{one.low:.2f} to {one.high:.2f}", Cell(count(one.num), one.num), Cell(percent(one.mean), one.mean)]
        for one in found
    ]
    return Plot(name, title, told, drawn, table(f"Mean {level.rate} by {label}", columns, rows))


def _scatter(axes: "Axes", xs: Floats, rates: Floats, level: Level) -> None:
    """The more points, the paler; what is above the top is at the edge."""
    above = rates > TOP
    alpha = float(np.clip(14 / np.sqrt(len(xs)), 0.3, 0.8))
    axes.scatter(xs[~above], rates[~above], s=11, color=ACCENT, alpha=alpha, linewidths=0)
    axes.scatter(xs[above], np.full(above.sum(), TOP), s=16, marker="^", color=ACCENT, alpha=alpha, linewidths=0)
    top = min(max(float(rates.max()), LEAST_TOP), TOP)
    axes.set_ylim(-0.02 * top, 1.04 * top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    axes.set_ylabel(level.rate)


def _which(name: str, num: int, num_drawn: int, num_all: int) -> str:
    """The points, of those that were drawn at random, of all."""
    told = f"Each point is a recording: {count(num)} of {count(num_all)}"
    told += ", drawn at random" if num_drawn < num_all else ""
    return told + (f"; left out: {count(num_drawn - num)} of unknown {name}." if num < num_drawn else ".")


def _seen(found: Sequence["Group"], num_above: int) -> str:
    told = ""
    if len(found) >= FEWEST_GROUPS:
        told += f" The line is the mean of {len(found)} groups of about the same size."
    if num_above:
        told += f" Triangles at the edge: {count(num_above)} above {TOP:.0%}."
    return told


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 ... as far as they lie between."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**ten for ten in tens for digit in (1, 2, 5) if low <= digit * 10.0**ten <= high]


def groups(xs: Floats, rates: Floats) -> list[Group]:
    """Of about the same size, as many as there are points for; points with the same x are in the same."""
    num = max(1, min(MOST_GROUPS, len(xs) // FEWEST_IN_GROUP))
    inner = np.unique(np.quantile(xs, np.linspace(0, 1, num + 1)[1:-1]))
    place = np.searchsorted(inner, xs, side="right")
    return [
        Group(float(xs[there].min()), float(xs[there].max()), int(there.sum()), float(rates[there].mean()))
        for there in (place == number for number in range(len(inner) + 1))
        if there.any()
    ]


def sample(points: Sequence[Point], level: Level) -> Html:
    """What the plots against duration and confidence are drawn from."""
    columns = [Column(level.short), Column("Duration in s"), Column("Confidence")]
    rows: list[Row] = [
        [f"{point.rate:.3g}", decimal(point.duration_s), decimal(point.confidence, 3)] for point in points
    ]
    made = table("Recordings of the plots by duration and by confidence", columns, rows)
    return element(
        "details", element("summary", f"The {of(len(points), 'recording')} of these plots"), made, class_="numbers"
    )


def histogram(bins: Sequence[tuple[float, float, int]], level: Level) -> Plot | None:
    """The first bar is of recordings without an error, the last is open."""
    total = sum(num for _, _, num in bins)
    if not total:
        return None
    told = f"How many recordings have which {level.rate}, of {count(total)}: none, up to 10%, and so on."
    from matplotlib.ticker import MaxNLocator

    with drawing() as (figure, axes):
        axes.bar(range(len(bins)), [num for _, _, num in bins], width=0.86, color=ACCENT, alpha=0.85)
        last = len(bins) - 1
        axes.set_xticks(range(len(bins)), [f"{100 * high:.0f}" for _, high, _ in bins[:last]] + ["more"])
        axes.grid(False, axis="x")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes.set_xlabel(f"{level.rate} of a recording, up to this percentage")
        axes.set_ylabel("recordings")
        drawn = inline(figure, "distribution", "Distribution", told)
    columns = [Column(level.short, numeric=False), Column("Recordings"), Column("Share")]
    rows: list[Row] = [
        [_range(low, high, number == last), Cell(count(num), num), Cell(percent(num / total), num / total)]
        for number, (low, high, num) in enumerate(bins)
    ]
    return Plot("distribution", "Distribution", told, drawn, table(f"Recordings by {level.rate}", columns, rows))


def _range(low: float, high: float, is_last: bool) -> str:
    if is_last:
        return f"above {low:.0%}"
    return f"above {low:.0%}, up to {high:.0%}" if high > low else f"{low:.0%}"


def calibration(found: Calibration | None) -> Plot | None:
    bins = [one for one in found.bins if one.num] if found else []
    if not found or not bins:
        return None
    told = (
        f"Of {found.of} with a confidence, the share that is right. On the dashed line confidences are what they say; "
        f"the larger a point, the more {found.of}. Expected calibration error: {percent(found.error)}."
    )
    largest = max(one.num for one in bins)
    xs, ys = [one.confidence for one in bins], [one.correct for one in bins]
    with drawing() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
        axes.plot(xs, ys, color=ACCENT, linewidth=1.6)
        axes.scatter(xs, ys, s=[12 + 90 * one.num / largest for one in bins], color=ACCENT, linewidths=0, zorder=3)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("confidence")
        axes.set_ylabel("share that is right")
        drawn = inline(figure, "calibration", "Calibration", told)
    columns = [Column("Confidence"), Column(found.of.capitalize()), Column("Mean confidence"), Column("Right")]
    rows: list[Row] = [
        [
            Cell(f"{one.low:.0%} to {one.high:.0%}", one.low),
            Cell(count(one.num), one.num),
            Cell(percent(one.confidence), one.confidence),
            Cell(percent(one.correct), one.correct),
        ]
        for one in bins
    ]
    return Plot("calibration", "Calibration", told, drawn, table(f"Share of {found.of} that is right", columns, rows))


def throughput(speed: Speed) -> Plot | None:
    if len(speed.over_time) < 2:
        return None
    last = speed.over_time[-1][0]
    _, length_s, called = next(unit for unit in UNITS if last >= unit[0])
    told = "Seconds of audio that were transcribed in a second, from the first commit on."
    with drawing() as (figure, axes):
        ends = [0.0, *(end / length_s for end, _ in speed.over_time)]
        rates = [speed.over_time[0][1], *(rate for _, rate in speed.over_time)]
        axes.fill_between(ends, rates, step="pre", color=ACCENT, alpha=0.15, linewidth=0)
        axes.step(ends, rates, where="pre", color=ACCENT, linewidth=1.6)
        axes.set_xlim(0, max(ends[-1], 1e-9))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.set_xlabel(f"{called} since the first commit")
        axes.set_ylabel("times real time")
        drawn = inline(figure, "throughput", "Throughput", told)
    columns = [Column(f"Until, in {called}"), Column("Times real time")]
    rows: list[Row] = [[Cell(decimal(end / length_s), end), Cell(times(rate), rate)] for end, rate in speed.over_time]
    return Plot("throughput", "Throughput", told, drawn, table("Throughput over the run's time", columns, rows))


def headlines(evaluations: Sequence[Evaluation], level: Level) -> Plot | None:
    """Runs below each other, in the order of the page."""
    rates = [(one.name, one.rates.of(level)) for one in evaluations]
    known = [(name, rate) for name, rate in rates if rate.value is not None]
    if not known:
        return None
    title = f"{level.rate.capitalize()}s"
    told = f"{level.rate.capitalize()} of each run; lines are 95% intervals."
    with drawing(height=64 + 26 * len(known)) as (figure, axes):
        for number, (_, rate) in enumerate(known):
            if rate.interval:
                axes.plot(rate.interval, [number, number], color=ACCENT, linewidth=2.4, solid_capstyle="butt")
            axes.plot([rate.value or 0.0], [number], color=ACCENT, marker="o", markersize=7)
        axes.set_yticks(range(len(known)), [_label(name) for name, _ in known])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
        axes.grid(False, axis="y")
        axes.set_xlabel(level.rate)
        drawn = inline(figure, "headlines", title, told)
    columns = [Column("Run", numeric=False), Column(level.short), Column("95% interval")]
    rows: list[Row] = [
        [of_data(name), Cell(percent(rate.value), rate.value), interval(rate.interval)] for name, rate in known
    ]
    return Plot("headlines", title, told, drawn, table(title, columns, rows))


def _label(name: str) -> str:
    """Nothing that XML may not hold."""
    shown = " ".join(fit(name).split())
    return shown if len(shown) <= 24 else f"{shown[:23]}…"
