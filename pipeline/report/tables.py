"""Tables that can be read as they are, and sorted and filtered where scripts run.

Knows nothing of what is in them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.report.html import Child, Html, element

MANY = 15  # rows, from where on a table scrolls


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number that it is sorted by; what is shown may be that number."""

    shown: Child
    value: float | None = None


@dataclass(frozen=True)
class Column:
    title: Child
    numeric: bool = True


Row: TypeAlias = Sequence[Cell | Child]


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    filter_by: str | None = None,
    marked: Collection[int] = (),
    sortable: bool = True,
) -> Html:
    """The first cell of a row is its heading. `filter_by` names what the filter is of; `marked` rows stand out."""
    numeric = all(column.numeric for column in columns)  # of many rows it is said once
    classes = [name for name, holds in (("sortable", sortable), ("numeric", numeric)) if holds]
    head = element("tr", [_heading(column, sortable) for column in columns])
    body = [
        element(
            "tr",
            [_cell(at, cell, columns[at].numeric and not numeric) for at, cell in enumerate(row)],
            class_="marked" if number in marked else None,
        )
        for number, row in enumerate(rows)
    ]
    made = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", body),
        class_=" ".join(classes) or None,
    )
    scrolled = element(
        "div",
        made,
        class_="scrolled long" if len(rows) > MANY else "scrolled",
        role="region",
        aria_label=caption,
        tabindex=0,
    )
    return element("div", _filter(filter_by) if filter_by else None, scrolled, class_="table")


def _heading(column: Column, sortable: bool) -> Html:
    return element(
        "th",
        column.title,
        scope="col",
        class_="n" if column.numeric else None,
        data_sort=("number" if column.numeric else "text") if sortable else None,
    )


def _cell(at: int, cell: Cell | Child, to_the_right: bool) -> Html:
    full = cell if isinstance(cell, Cell) else Cell(cell)
    told = None if full.value is None else f"{full.value:.6g}"
    kind = "n" if to_the_right else None
    if at == 0:
        return element("th", full.shown, scope="row", data_value=told, class_=kind)
    return element("td", full.shown, data_value=told, class_=kind)


def _filter(what: str) -> Html:
    """Hidden until a script shows it, because without one it would do nothing."""
    field = element("input", type="search", autocomplete="off", spellcheck="false")
    return element("p", element("label", what, " ", field), " ", element("output"), class_="filter", hidden=True)


def facts(pairs: Sequence[tuple[Child, Child]]) -> Html:
    """Names and what they are."""
    return element("dl", [element("div", element("dt", name), element("dd", told)) for name, told in pairs])
