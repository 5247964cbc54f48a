"""The slices of a run as a table that is sorted and filtered, its worst ones marked.

Knows nothing of how slices are found.
"""

from collections.abc import Sequence

from pipeline.evaluation.results import Evaluation, Slice
from pipeline.evaluation.rows import Level
from pipeline.progress import hours
from pipeline.report.formats import count, interval, percent, points, probability, shortened
from pipeline.report.html import Html, element, markup, of_data
from pipeline.report.shell import Section
from pipeline.report.tables import Cell, Column, Row, table

MOST_ROWS = 400  # of 600 bytes each
MOST_CHARACTERS = 120  # of a value, or a column's name
MOST_NAMED = 8  # of the worst
WORSE = "Worse than the rest, and probably not by chance"
EXPLAINED = (
    "Excess is the rate less that of all other recordings, in percentage points; p is how often chance alone makes as "
    "much of it, corrected for how many slices were looked at (Holm). \u25b2 marks what is worse by more than chance."
)


def section(evaluation: Evaluation) -> Section:
    found, level = evaluation.slices, evaluation.judged_by
    if not found:
        return Section("slices", "Slices", element("p", "There are no columns to slice by.", class_="note"))
    worst = {_key(one) for one in evaluation.worst_slices}
    shown = _shown(found, worst)
    left = f" The table has the {count(len(shown))} with the most {level}; all are in evaluation.json."
    note = element("p", EXPLAINED, left if len(shown) < len(found) else None, class_="note")
    chars = ["CER"] if level is Level.WORDS else []
    columns = [
        *(Column(name, numeric=False) for name in ("Column", "Value")),
        *map(Column, (level.short, "95% interval", "Excess", "p", *chars, "Recordings", "Audio", level.title())),
    ]
    marked = {number for number, one in enumerate(shown) if _key(one) in worst}
    rows = [_row(one, level, number in marked) for number, one in enumerate(shown)]
    made = table(f"{level.rate.capitalize()} by slice", columns, rows, filter_by="Only slices with", marked=marked)
    return Section("slices", "Slices", markup(_worst(evaluation), note, made))


def _worst(evaluation: Evaluation) -> Html:
    num, worst = count(len(evaluation.slices)), evaluation.worst_slices
    if not worst:
        return element("p", f"{WORSE}: none of {num}.")
    named = [
        [of_data(f"{shortened(one.column, MOST_CHARACTERS)} = {_value(one)}"), f", {points(one.excess)} points"]
        for one in worst[:MOST_NAMED]
    ]
    return markup(
        element("p", f"{WORSE}: ", element("strong", count(len(worst))), f" of {num}. The worst:"),
        element("ul", [element("li", one) for one in named], class_="worst-slices"),
    )


def _shown(found: Sequence[Slice], worst: set[tuple[str, str]]) -> list[Slice]:
    """In their order; where there are too many, the worst and the largest."""
    order = sorted(range(len(found)), key=lambda at: (_key(found[at]) not in worst, -found[at].errors.num_reference))
    return [found[at] for at in sorted(order[:MOST_ROWS])]


def _key(one: Slice) -> tuple[str, str]:
    return one.column, one.value


def _value(one: Slice) -> str:
    return shortened(one.value, MOST_CHARACTERS)


def _row(one: Slice, level: Level, is_worst: bool) -> Row:
    return [
        of_data(shortened(one.column, MOST_CHARACTERS)),
        [of_data(_value(one)), element("span", "\u25b2 worse", class_="mark") if is_worst else None],
        Cell(percent(one.rate.value), one.rate.value),
        Cell(interval(one.rate.interval), one.rate.interval.low if one.rate.interval else None),
        Cell(points(one.excess), one.excess),
        Cell(probability(one.p_corrected), one.p_corrected),
        *([Cell(percent(one.cer.value), one.cer.value)] if level is Level.WORDS else []),
        Cell(count(one.num_recordings), one.num_recordings),
        Cell(hours(one.audio_s), one.audio_s),
        Cell(count(one.errors.num_reference), one.errors.num_reference),
    ]
