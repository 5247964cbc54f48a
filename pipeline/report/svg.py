"""Figures of matplotlib as SVG within a page: small, the same bytes for the same figure, in the page's own colours.

Knows nothing of what is drawn. What matplotlib writes has styles in attributes, which the page's policy forbids, ids
that others on the page have too, and fixed colours; here all three are replaced.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pipeline.report.html import Html, element, markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Node = ElementTree.Element[str]

WIDTH, HEIGHT = 380, 236  # of a plot, in units of its text, which is 9 or 10 high
# What a figure is drawn with stands for a colour of the page, which light and dark each have their own of.
COLOURS = {"ink": "#010101", "muted": "#020202", "grid": "#030303", "accent": "#040404", "second": "#050505"}
INK, MUTED, GRID, ACCENT, SECOND = COLOURS.values()
_NAMES = {value: name for name, value in COLOURS.items()}

STYLE: Any = {
    "svg.fonttype": "none",  # text is text: selectable, and in the page's font
    "svg.hashsalt": "nightshift",  # else ids are drawn anew each time
    "path.simplify": False,
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is one
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.dpi": 72,
}
_KEPT = re.compile("fill|stroke|opacity|font-size|text-anchor")
_NUMBER = re.compile(r"-?\d+\.\d+")
_REFERENCES = {
    "{http://www.w3.org/1999/xlink}href": "href",
    "clip-path": "clip-path",
}  # as matplotlib and pages call them


@contextmanager
def drawing(height: float = HEIGHT) -> Iterator[tuple["Figure", "Axes"]]:
    """A figure with its axes, to be drawn on and shown (`inline`) inside."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # by what the page's own fonts have, all is shown
        matplotlib.rcdefaults()  # whatever the user's own settings
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        yield figure, axes


def inline(figure: "Figure", name: str, title: str, description: str) -> Html:
    """The figure as an element; `name` is its own on the page, and so are its first two letters: thousands of points
    refer to what they look like. Inside `drawing`, which has the settings."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    used = {_target(value) for node in root.iter() for key, value in node.items() if key in _REFERENCES}
    ids = {found: f"{name[:2]}{number}" for number, found in enumerate(sorted(used))}
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        [_written(node, ids) for node in root],
        viewBox=root.get("viewBox"),
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        stroke_linejoin="round",
    )


def _written(node: "Node", ids: dict[str, str], inherited: dict[str, str] | None = None) -> Html:
    """A node and those in it, without what says nothing."""
    tag = node.tag.rpartition("}")[2]
    if tag in ("metadata", "style"):
        return Html()
    shared = _shared(node, ids) if tag == "g" else {}
    inside = markup((node.text or "").strip(), [_written(child, ids, shared) for child in node])
    given = (inherited or {}).items()
    attributes = {key: value for key, value in (_attributes(node, ids) | shared).items() if (key, value) not in given}
    if tag == "g" and not (attributes and inside):
        return inside
    told = markup([[Html(f' {key}="'), value, Html('"')] for key, value in attributes.items()])
    return Html(f"<{tag}{told}>{inside}</{tag}>" if inside else f"<{tag}{told}/>")


def _shared(node: "Node", ids: dict[str, str]) -> dict[str, str]:
    """What all of many points look like is said once, of their group."""
    if len(node) < 2 or any(not child.tag.endswith("}use") for child in node):
        return {}
    first, *others = (_attributes(child, ids) for child in node)
    return {
        key: value
        for key, value in first.items()
        if key not in ("x", "y", "href") and all(other.get(key) == value for other in others)
    }


def _attributes(node: "Node", ids: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in node.items():
        if key == "id":
            found |= {"id": ids[value]} if value in ids else {}
        elif key in _REFERENCES:
            found[_REFERENCES[key]] = value.replace(_target(value), ids[_target(value)])
        elif key == "style":
            found |= _presentation(value)
        elif not value.startswith("rotate(-0 "):
            found[key] = _shorter(value, places=1 if key in ("x", "y") else 2)
    return found


def _target(reference: str) -> str:
    """#this, or url(#this)."""
    return reference.removeprefix("url(").removesuffix(")").removeprefix("#")


def _shorter(value: str, places: int) -> str:
    return _NUMBER.sub(lambda number: f"{round(float(number[0]), places) + 0.0:g}", " ".join(value.split()))


def _presentation(style: str) -> dict[str, str]:
    """The properties of a style as attributes, and its colours as our classes."""
    found, classes = dict[str, str](), list[str]()
    for pair in style.split(";"):
        key, _, value = (part.strip() for part in pair.partition(":"))
        if value in _NAMES:
            classes.append(f"{key}-{_NAMES[value]}")
        elif _KEPT.match(key) and (key, value) != ("stroke-dashoffset", "0"):
            found[key] = value
    return found | ({"class": " ".join(classes)} if classes else {})
