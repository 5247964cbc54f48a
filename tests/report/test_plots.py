"""What would make a plot lie, clash with its neighbours on the page, or change from one time to the next."""

import re
import warnings
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.results import Evaluation, Point
from pipeline.evaluation.rows import Level
from pipeline.report import plots
from tests.report import figures
from tests.report.test_html import Seen

PAIRS = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 3)), min_size=1, max_size=300)


@given(PAIRS)
def test_every_point_is_in_one_group(pairs: list[tuple[float, float]]) -> None:
    xs, rates = np.array(pairs).T
    found = plots.groups(xs, rates)
    assert sum(group.num for group in found) == len(xs)
    np.testing.assert_allclose(sum(group.num * group.mean for group in found), rates.sum(), atol=1e-6)
    assert all(group.low <= group.high for group in found)
    assert all(one.high < two.low for one, two in pairwise(found))


@pytest.fixture(scope="module")
def whole() -> Evaluation:
    return figures.evaluation(num_points=100)


def drawn(evaluation: Evaluation) -> list[plots.Plot]:
    made = (
        plots.histogram(evaluation.histogram, Level.WORDS),
        plots.by_duration(evaluation.points, Level.WORDS, 500),
        plots.by_confidence(evaluation.points, Level.WORDS, 500),
        plots.calibration(evaluation.calibration),
        plots.throughput(evaluation.speed),
        plots.headlines([evaluation], Level.WORDS),
    )
    return [plot for plot in made if plot is not None]


def test_the_users_settings_change_nothing_and_are_left_as_they_were(whole: Evaluation) -> None:
    before = plots.calibration(whole.calibration)
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 20, "svg.hashsalt": "other"}):
        assert plots.calibration(whole.calibration) == before
        assert matplotlib.rcParams["axes.facecolor"] == "red"


def test_plots_share_a_page(whole: Evaluation) -> None:
    tags = [tag for plot in drawn(whole) for tag in Seen(plot.html()).tags]
    ids = [found for _, attributes in tags if (found := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        assert "style" not in attributes  # which the page's policy forbids
        references = [re.sub(r"^(url\()?#|\)$", "", attributes.get(name) or "") for name in ("href", "clip-path")]
        references += (attributes.get("aria-labelledby") or "").split()
        assert {reference for reference in references if reference} <= set(ids)


def test_no_colour_but_the_pages_own(whole: Evaluation) -> None:
    for plot in drawn(whole):
        assert not re.search('#[0-9a-f]{6}|rgb|fill="(?!none)|stroke="(?!none)', plot.drawn), plot.name


def test_axes_say_what_and_in_which_unit(whole: Evaluation) -> None:
    texts = {plot.name: Seen(plot.drawn).text for plot in drawn(whole)}
    assert "duration in seconds" in texts["duration"] and "word error rate" in texts["duration"]
    assert "minutes since the first commit" in texts["throughput"] and "times real time" in texts["throughput"]
    assert "confidence" in texts["calibration"] and "share that is right" in texts["calibration"]


def test_each_point_is_drawn_and_those_above_the_edge_at_it() -> None:
    points = [Point(float(number + 1), 0.5, rate) for number, rate in enumerate([0.0, 0.2, 1.0, 1.5, 40.0])]
    plot = plots.by_duration(points, Level.WORDS, 5)
    assert plot is not None
    assert "Triangles at the edge: 2 above 100%" in plot.told
    uses = [attributes for tag, attributes in Seen(plot.drawn).tags if tag == "use"]
    heights = sorted({attributes["y"] for attributes in uses if attributes.get("x")}, key=float)  # type: ignore[arg-type]
    assert len(heights) >= 3


def test_numbers_behind_a_plot_are_those_of_the_results(whole: Evaluation) -> None:
    plot = plots.histogram(whole.histogram, Level.WORDS)
    assert plot is not None
    text = Seen(plot.numbers).text
    assert all(f"{num:,}" in text for _, _, num in whole.histogram)


@pytest.mark.parametrize("name", ["$x^2$ <b>&", "模型 \U0001f319", "\x00\ud800\n", "n" * 500])
def test_names_are_shown_as_they_are(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = plots.headlines([figures.evaluation(name, num_points=0)], Level.WORDS)
    assert plot is not None
    if len(name) < 20 and name.isprintable():
        assert name in Seen(plot.drawn).text


def test_without_numbers_there_is_no_plot() -> None:
    nothing = figures.empty()
    assert drawn(nothing) == []
    assert plots.by_confidence([Point(1.0, None, 0.5), Point(1.0, float("nan"), 0.5)], Level.WORDS, 2) is None
