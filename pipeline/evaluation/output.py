"""Where an evaluation lies: OUT/NAME the scored rows of each run, OUT/evaluation.json the figures, and the pages.

    OUT/NAME/            scored rows, a run of its own: run.json, manifest/, data/, commits/
    OUT/NAME/report.html the page of that run, where there are several
    OUT/report.html      the page of the one run, or of several beside each other
    OUT/evaluation.json  all figures

Knows nothing of how figures are found, or of what is on a page.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pipeline
from pipeline import run as runs
from pipeline import store
from pipeline.errors import UsageError
from pipeline.evaluation.names import Named
from pipeline.evaluation.request import is_scoring, told_in
from pipeline.evaluation.results import Report
from pipeline.lock import LOCK
from pipeline.run import Run
from pipeline.storage_errors import as_usage
from pipeline.store import Folder

FIGURES, PAGE = "evaluation.json", "report.html"
OURS = b'{\n "nightshift"'  # how figures begin


class Output:
    """OUT of some runs."""

    def __init__(self, out: str, evaluated: Sequence[Named], deadline_s: float = store.DEADLINE_S) -> None:
        self.folder = Folder(store.absolute(out), deadline_s)
        self._evaluated = evaluated

    def rows_of(self, one: Named) -> str:
        return self.folder.sub(one.name).url

    def check(self) -> None:
        """That no run is written into, and nothing of anybody else's is written over."""
        for target in self._evaluated:
            for one in self._evaluated:
                own = f"{one.url}/{runs.EVALUATION}"  # which --overwrite of the run deletes, as it should
                if store.overlap(self.rows_of(target), one.url) and not store.same(self.folder.url, own):
                    raise UsageError(
                        f"{self.rows_of(target)} is the run {one.url}, holds it or lies in it: give another directory "
                        f"by --out, such as {own}"
                    )
        with as_usage(self.folder.url):
            try:
                names = [name for name in self.folder.names() if not name.startswith(".") and name != LOCK]
                is_ours = FIGURES in names and self.folder.read(FIGURES).startswith(OURS)
                foreign = [] if is_ours else [name for name in names if not self._is_known(name)]
            except NotADirectoryError as error:
                raise UsageError(f"{self.folder.url} is a file: give a directory by --out") from error
        if foreign:
            raise UsageError(
                f"{self.folder.url} is not an evaluation and not empty (it holds {foreign[0]}): give another "
                f"directory by --out"
            )

    def _is_known(self, name: str) -> bool:
        """Scored rows, or what a start that was killed leaves of them; or where the evaluated runs are."""
        folder = self.folder.sub(name)
        if (told := told_in(folder)) is not None:
            return is_scoring(told)
        holds_a_run = any(store.overlap(folder.url, one.url) for one in self._evaluated)
        return holds_a_run or (name != PAGE and set(folder.names()) <= {LOCK, "manifest"})

    def forget(self) -> None:
        """Before other rows are scored, what was derived from those that were there."""
        pages = [self.folder, *(self.folder.sub(one.name) for one in self._evaluated)]
        self.folder.delete([FIGURES])
        for folder in pages:
            folder.delete([PAGE])

    def write(self, report: Report, audio_of: Mapping[str, Run]) -> None:
        """`audio_of`: by name the runs whose recordings can be heard on the pages."""
        from pipeline.report.page import comparison_page, evaluation_page, ids_on_comparison_page

        figures = {"nightshift": pipeline.__version__, **plain(report)}
        self.folder.publish(FIGURES, json.dumps(figures, indent=1, ensure_ascii=False).encode())
        alone = len(report.evaluations) == 1
        for one in report.evaluations:
            sounds = _sounds(audio_of.get(one.name), [example.id for example in one.worst])
            page = evaluation_page(one, sounds)
            (self.folder if alone else self.folder.sub(one.name)).publish(PAGE, page.encode())
        if not alone:
            links = {one.name: f"{quote(one.name)}/{PAGE}" for one in report.evaluations}
            sounds = _sounds(audio_of.get(report.evaluations[0].name), ids_on_comparison_page(report))
            self.folder.publish(PAGE, comparison_page(report, links, sounds).encode())


def _sounds(run: Run | None, ids: Sequence[str]) -> Mapping[str, Any]:
    if run is None or not ids:
        return {}
    from pipeline.report.audio import sounds

    return sounds(run, ids)


def plain(value: Any) -> Any:
    """Results as JSON has them, with the numbers that follow from others: what has no number there is null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {key.name: getattr(value, key.name) for key in dataclasses.fields(value)}
        known = {name: getattr(value, name) for name, of in vars(type(value)).items() if isinstance(of, property)}
        follows = {name: told for name, told in known.items() if told is None or isinstance(told, int | float)}
        return {name: plain(told) for name, told in {**kept, **follows}.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
