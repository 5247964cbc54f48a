"""Pages: of one run's evaluation, and of several runs beside each other.

Knows nothing of how figures are found or where pages are put.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.evaluation.results import Evaluation, Report
from pipeline.report import comparing, sections, slice_table
from pipeline.report.headline import headline, title
from pipeline.report.html import element, markup, of_data
from pipeline.report.shell import document

if TYPE_CHECKING:
    from pipeline.report.audio import Sound


def evaluation_page(evaluation: Evaluation, sounds: Mapping[str, "Sound"]) -> str:
    """Of one run; sounds by id, as far as there are any."""
    heading = markup(
        element("p", "Evaluation of a run", class_="kind"),
        element("h1", of_data(evaluation.name)),
        headline(evaluation),
    )
    found = [
        sections.rates(evaluation),
        sections.compared(evaluation),
        slice_table.section(evaluation),
        sections.where(evaluation),
        sections.worst(evaluation, sounds),
        sections.confusions(evaluation),
        sections.failures(evaluation),
        sections.speed(evaluation),
    ]
    return document(title(evaluation), heading, found)


def ids_on_comparison_page(report: Report) -> list[str]:
    """Of the recordings that it shows, and can sound."""
    return comparing.ids(report)


def comparison_page(report: Report, links: Mapping[str, str], sounds: Mapping[str, "Sound"]) -> str:
    """Of several runs. `links`: by a run's name the URL of its own page, relative to this one; sounds by id."""
    heading = markup(
        element("p", "Comparison", class_="kind"),
        element("h1", f"{len(report.evaluations)} runs beside each other"),
        comparing.doubts(report),
    )
    found = [
        comparing.runs(report, links),
        *comparing.datasets(report),
        *comparing.pairs(report, sounds),
        comparing.settings(report),
    ]
    return document("Comparison of " + ", ".join(one.name for one in report.evaluations), heading, found)
