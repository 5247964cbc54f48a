"""Totals against NIST sclite on the same files, which looks for the alignment of the lowest cost, where a substitution
costs 4 and the others 3.

So where errors are scattered, as in transcripts, it finds as many errors and sometimes others; of unrelated texts it
may take four insertions and deletions for three substitutions, and count more, but never fewer.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.evaluation.alignment import align

SCLITE = [path] if (path := shutil.which("sclite")) else [path, "sclite"] if (path := shutil.which("sctk")) else None
pytestmark = pytest.mark.skipif(SCLITE is None, reason="sclite is not installed (sctk)")

Counts = list[tuple[int, int, int, int]]  # hits, substitutions, deletions, insertions of each pair


def sclite(folder: Path, references: list[str], texts: list[str]) -> Counts:
    assert SCLITE is not None
    for name, lines in (("references", references), ("texts", texts)):
        (folder / name).write_text("".join(f"{line} (one-{i})\n" for i, line in enumerate(lines)))
    files = ["-r", str(folder / "references"), "trn", "-h", str(folder / "texts"), "trn"]
    command = [*SCLITE, "-s", "-e", "utf-8", "-i", "rm", *files, "-o", "sgml", "stdout"]
    told = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=60).stdout
    counts = []
    for path in re.findall(r"<PATH [^>]*>\n(.*?)\n</PATH>", told, re.DOTALL):
        kinds = [step.split(",")[0] for step in path.split(":") if step]
        counts.append((kinds.count("C"), kinds.count("S"), kinds.count("D"), kinds.count("I")))
    assert len(counts) == len(references)
    return counts


def ours(references: list[str], texts: list[str]) -> Counts:
    found = align(pa.array(references), pa.array(texts)).words
    return list(zip(*(column.tolist() for column in found), strict=True))


def test_errors_of_transcripts_are_as_many_as_sclite_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vocabulary = [*"abcdefgh", "über", "straße", "中文", *(f"w{i}" for i in range(40))]
    references, texts = ["", "a b", "", "a"], ["", "", "a b", "A"]
    for _ in range(400):
        said = rng.choice(vocabulary, rng.integers(1, 40)).tolist()
        heard = []
        for word in said:
            kind = rng.choice(4, p=[0.85, 0.09, 0.03, 0.03])
            heard += [[word], [str(rng.choice(vocabulary))], [], [word, str(rng.choice(vocabulary))]][kind]
        references.append(" ".join(said))
        texts.append(" ".join(heard))
    theirs = sclite(tmp_path, references, texts)
    found = ours(references, texts)
    assert [sum(one[1:]) for one in found] == [sum(one[1:]) for one in theirs]
    assert [sum(one[:3]) for one in found] == [sum(one[:3]) for one in theirs]  # words in the reference
    assert found != theirs  # which substitutions, deletions and insertions they are may differ


def test_of_unrelated_texts_sclite_may_count_more_and_never_fewer(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    references, texts = (
        [" ".join(rng.choice(list("abcde"), rng.integers(8, 25)).tolist()) for _ in range(400)] for _ in range(2)
    )
    num_more = 0
    for mine, theirs in zip(ours(references, texts), sclite(tmp_path, references, texts), strict=True):
        (_, *errors), (_, *others) = mine, theirs
        assert sum(others) >= sum(errors)
        num_more += sum(others) > sum(errors)
        cost, other_cost = (4 * one[0] + 3 * (one[1] + one[2]) for one in (errors, others))
        assert other_cost <= cost
    assert 0 < num_more < 100
