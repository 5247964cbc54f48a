"""The same recordings in every kind of corpus: whatever the input looks like, the rows are those of the loose files."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline import config as configuration
from pipeline.drive import drive
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import find
from pipeline.write import read_parts
from tests import corpora


def transcribed(kind: str, sample: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Rows by what was said; of loose files, which do not tell that, by their names."""
    source = corpora.write(kind, folder / kind, corpora.clips())
    keys = [f'encode.model="{sample / "model"}"', "read.unit_s=10", "run.address=here"]
    with Progress(log_every_s=1000) as progress:
        drive(Request(str(source), str(folder / "out" / kind), configuration.load(None, keys)), progress)
    texts = {f"{clip.name}.flac": clip.text for clip in corpora.clips()}
    found = read_parts(find(str(folder / "out" / kind))).to_pylist()
    assert len(found) == len(texts)
    return {texts[row["id"]] if kind in corpora.WITHOUT_TEXTS else row["reference"]: row for row in found}


@pytest.fixture(scope="module")
def of_files(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    rows = transcribed("files", sample, tmp_path_factory.mktemp("files"))
    assert all(row["status"] == "ok" and re.search("[A-Z]", row["text"]) for row in rows.values())
    return rows


@pytest.mark.parametrize("kind", [kind for kind in corpora.KINDS if kind != "files"])
def test_every_kind_of_corpus_gives_the_texts_of_its_files(kind, sample, tmp_path, of_files):
    rows = transcribed(kind, sample, tmp_path)
    assert {text: row["error_detail"] for text, row in rows.items()} == dict.fromkeys(of_files)
    durations = {text: row["duration_s"] for text, row in rows.items()}
    assert durations == pytest.approx({text: row["duration_s"] for text, row in of_files.items()}, abs=0.1)
    if kind not in corpora.LOSSY:
        assert durations == {text: row["duration_s"] for text, row in of_files.items()}
        assert {text: row["text"] for text, row in rows.items()} == {t: row["text"] for t, row in of_files.items()}
