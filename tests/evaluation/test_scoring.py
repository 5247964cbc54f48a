"""Rows that are scored afterwards say what they said when the run was made, and lose nothing when scoring is killed."""

import dataclasses
import json
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.carry import in_process
from pipeline.commit import Stored, Tally
from pipeline.config import ScoreConfig
from pipeline.drive import drive
from pipeline.errors import StageError, UsageError
from pipeline.evaluation import units
from pipeline.evaluation.gather import gather, tables
from pipeline.evaluation.rows import SCHEMA
from pipeline.evaluation.scoring import normalized, tally_of
from pipeline.progress import Progress
from pipeline.records import COUNT_FIELDS, COUNTED, Alternative, Word
from pipeline.resources import Node
from pipeline.run import Run, find
from pipeline.score import Scorer, ScoreSettings, count_words
from pipeline.text.normalize import normalizer
from pipeline.unit import Unit
from pipeline.write import read_parts
from tests.evaluation.made_runs import (
    LETTERS,
    PHONEMES,
    failed,
    heard,
    in_phones,
    made,
    request_of,
    scored,
)

COUNTS = [f"{kind}_{name}" for kind in COUNTED for name in COUNT_FIELDS]

OF_LETTERS = [
    heard("same", "The cat sat.", "The cat sat."),
    heard("wrong", "The  cat\tsat", "a CAT sad then"),
    heard("silent", "said", ""),
    heard("empty", "", "heard"),
    heard("both empty", "", ""),
    heard("spaces", " \u3000\n", "one"),
    heard("unknown", None, "two words"),
    failed("failed", "lost words"),
    failed("failed and unknown", None, "decode: too loud"),
    heard("numbers", "twenty-one pounds", "21 pounds"),
    heard("strange", "naïve e\u0301 中文", "naive é 中 文"),
]
OF_PHONES = [
    in_phones("wrong", "hello", "h ə l l"),
    in_phones("silent", "hello", ""),
    in_phones("empty", "", "h ə"),
    in_phones("unknown", None, "h"),
    failed("failed", "hello"),
    in_phones("worded", "hello hello", "h ə l oʊ", words="hello"),
    in_phones("no words", "hello", "h", words=""),
]


def rows_of(run: Run) -> list[dict[str, Any]]:
    return list(read_parts(run).to_pylist())


def counts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("id", "status", "reference", "text", *COUNTS)} for row in rows]


# ---- the same as in the run


@pytest.mark.parametrize("name", ["none", "basic", "unicode", "english", "unicode | english"])
def test_words_afterwards_are_those_of_the_run(name, tmp_path):
    columns = {"speaker": [f"s{number % 3}" for number in range(len(OF_LETTERS))]}
    run = made(tmp_path / "run", OF_LETTERS, score=ScoreConfig(normalizer=name), columns=columns)
    rows = scored(request_of(run, tmp_path / "out"))
    assert counts(rows) == counts(rows_of(run))
    assert [row["speaker"] for row in rows] == columns["speaker"]
    assert sum((commit.tally for commit in run.commits().values()), Tally()) == total(tmp_path / "out")


def total(out: Path) -> Tally:
    return sum((commit.tally for commit in find(str(out)).commits().values()), Tally())


@pytest.mark.parametrize("language", ["", "en-us"])
def test_phones_afterwards_are_those_of_the_run(language, tmp_path, monkeypatch):
    """Also where nobody can say references any more."""
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    run = made(tmp_path / "run", OF_PHONES, score=ScoreConfig(language=language), vocabulary=PHONEMES)
    monkeypatch.setattr("pipeline.text.espeak._asked", lambda *_: pytest.fail("asked"))
    rows, before = scored(request_of(run, tmp_path / "out")), rows_of(run)
    assert counts(rows) == counts(before)
    assert sum((commit.tally for commit in run.commits().values()), Tally()) == total(tmp_path / "out")
    assert [row["reference_phones"] for row in rows] == [row["reference_phones"] for row in before]
    assert [row["heard_phones"] for row in rows] == ["h ə l l", "", "h ə", "h", None, "h ə l oʊ", "h"]
    is_said = [row["reference_phones"] is not None for row in rows]
    assert [row["phone_alignment"] is not None for row in rows] == is_said and any(is_said) == bool(language)


def test_phones_of_other_references_are_counted_as_a_run_with_them_would(tmp_path):
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    score = ScoreConfig(language="en-us")
    run = made(tmp_path / "run", OF_PHONES, score=score, vocabulary=PHONEMES)
    bare = [dataclasses.replace(one, reference=None) for one in OF_PHONES]
    without = made(tmp_path / "without", bare, score=score, vocabulary=PHONEMES)
    pq.write_table(read_parts(run).select(["id", "reference"]), tmp_path / "references.parquet")
    joined = scored(request_of(without, tmp_path / "out", references=tmp_path / "references.parquet"))
    assert counts(joined) == counts(rows_of(run))
    (hello,) = (row for row in joined if row["id"] == "wrong")
    assert (hello["reference_phones"], hello["heard_phones"], hello["phone_alignment"]) == (
        *("h ə l oʊ", "h ə l l"),
        "3=1S",
    )
    silent = scored(request_of(run, tmp_path / "silent", "score.language=none"))
    assert [row["word_hits"] for row in silent] == [row["word_hits"] for row in rows_of(run)]
    assert {row[name] for row in silent for name in ("phone_hits", "reference_phones", "phone_alignment")} == {None}
    later = made(tmp_path / "later", OF_PHONES, vocabulary=PHONEMES)  # in no language, until it is evaluated
    assert counts(scored(request_of(later, tmp_path / "asked", "score.language=en-us"))) == counts(rows_of(run))


def test_another_normaliser_gives_what_a_run_with_it_would_have_given(tmp_path):
    plain = made(tmp_path / "plain", OF_LETTERS)
    english = made(tmp_path / "english", OF_LETTERS, score=ScoreConfig(normalizer="english"))
    rows = scored(request_of(plain, tmp_path / "out", "score.normalizer=english"))
    assert counts(rows) == counts(rows_of(english)) != counts(rows_of(plain))
    assert counts(scored(request_of(english, tmp_path / "none", "score.normalizer=none"))) == counts(rows_of(plain))
    (numbers,) = (row for row in rows if row["id"] == "numbers")
    assert (numbers["reference"], numbers["normalized_reference"]) == ("twenty-one pounds", "£21")
    assert (numbers["text"], numbers["normalized_text"]) == ("21 pounds", "£21")


TEXTS = st.text(st.sampled_from("aB1.-' \t\n\x1c\x85\xa0\u1680\u2003\u2028\u3000\u200b\u0301éß中"), max_size=12)


@given(st.lists(TEXTS | st.none(), max_size=6), st.lists(TEXTS, max_size=3), st.sampled_from(["none", "basic"]))
def test_what_is_compared_is_what_the_score_stage_compares(references, texts, name):
    normalize = normalizer(name)
    made = normalized([pa.array(references, pa.string()), pa.array(texts, pa.string())], normalize)
    for given_texts, column in zip((references, texts), made, strict=True):
        wanted = [None if text is None else " ".join(normalize(text).split()) for text in given_texts]
        assert column.to_pylist() == wanted


PAIRS = st.lists(st.tuples(TEXTS | st.none(), TEXTS), min_size=1, max_size=8)


@settings(max_examples=15)
@given(PAIRS, st.sampled_from(["none", "unicode"]))
def test_any_texts_are_counted_alike(pairs, name):
    recordings = [heard(str(number), *pair) for number, pair in enumerate(pairs)]
    run = made("memory://scoring/run", recordings, score=ScoreConfig(normalizer=name), unit_s=30.0)
    try:
        has_references = any(reference is not None for reference, _ in pairs)
        if has_references:
            assert counts(scored(request_of(run, "memory://scoring/out"))) == counts(rows_of(run))
    finally:
        run.folder.files.rm("/scoring", recursive=True)


# ---- what else is in a row


def test_the_best_of_the_alternatives_is_counted_as_jiwer_counts_it(tmp_path):
    texts = ["one too three", "One two. three", "two three"]
    nbest = [Alternative(text, 0.0, 0.0) for text in texts]
    recordings = [
        heard("a", "one two three", texts[0], nbest=nbest),
        heard("b", None, texts[0], nbest=nbest),
        heard("c", "one two three", texts[0]),
        failed("d", "one"),
        heard("e", "one", "one", nbest=[]),
        heard("f", "", "one", nbest=nbest),
    ]
    run = made(tmp_path / "run", recordings, score=ScoreConfig(normalizer="basic"))
    rows = scored(request_of(run, tmp_path / "out"))
    oracle = [[row[f"oracle_{name}"] for name in COUNT_FIELDS] for row in rows]
    assert oracle == [[3, 0, 0, 0], *[[None] * 4] * 4, [0, 0, 0, 2]]
    assert count_words("one two three", texts[0]).num_errors == 1


def test_confidences_are_those_of_the_words_that_are_compared_or_none(tmp_path):
    unsure = [Word("a", 0.0, 0.1, 0.5), Word("b", 0.0, 0.1, None)]
    recordings = [
        heard("kept", "x", "Hello, World!"),
        heard("merged", "x", "twenty one"),
        heard("some", "x", "a b", words=unsure),
        heard("nothing", "x", ""),
        failed("failed", "x"),
        heard("unscored", None, "well done"),
    ]
    run = made(tmp_path / "run", recordings)
    rows = scored(request_of(run, tmp_path / "out", "score.normalizer=english"))
    told = [row["word_confidences"] for row in rows]
    assert told == [pytest.approx([0.5, 0.51]), None, None, [], None, pytest.approx([0.5, 0.51])]
    assert [row["normalized_text"] for row in rows][:2] == ["hello world", "21"]


def test_columns_keep_their_names_unless_they_are_ours(tmp_path):
    columns = {"speaker": ["s"], "normalized_text": ["mine"], "oracle_hits": [7], "dotted.name": [1.5]}
    run = made(tmp_path / "run", [heard("a", "x", "x")], columns=columns)
    (row,) = scored(request_of(run, tmp_path / "out"))
    passed = {name: value for name, value in row.items() if name not in SCHEMA.names}
    assert passed == {"speaker": "s", "input_normalized_text": "mine", "input_oracle_hits": 7, "dotted.name": 1.5}
    assert row["normalized_text"] == "x"


def test_a_run_of_an_earlier_version_lacks_columns_and_is_scored_all_the_same(tmp_path):
    run = made(tmp_path / "run", OF_LETTERS, unit_s=1000.0)
    (commit,) = run.commits().values()
    table = run.read_part(commit)
    whole = scored(request_of(run, tmp_path / "whole"))
    old = table.drop_columns(["nbest", "phones", "narrowed", "phone_hits"])
    part = tmp_path / "run/data" / commit.part
    pq.write_table(old, part)
    stored = Stored.of(commit.part, part.read_bytes())
    path = tmp_path / "run/commits/000000.json"
    path.write_bytes(dataclasses.replace(commit, size=stored.size, sha256=stored.sha256).to_json())
    info = run.info()
    del info["scoring"]
    (tmp_path / "run/run.json").write_text(json.dumps(info))
    assert scored(request_of(find(str(tmp_path / "run")), tmp_path / "out")) == whole


# ---- units


def test_units_follow_the_order_of_the_run_and_hold_no_more_than_they_may(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "MAX_RECORDINGS", 5)
    run = made(tmp_path / "run", OF_LETTERS, unit_s=20.0)  # two recordings each
    rows = scored(request_of(run, tmp_path / "out"))
    found = find(str(tmp_path / "out"))
    assert [info.num_recordings for info in found.manifest.units()] == [4, 4, 3]
    assert [row["id"] for row in rows] == [one.id for one in OF_LETTERS]
    monkeypatch.setattr(units, "MAX_RECORDINGS", 1)  # what the run did together stays together
    assert [len(group) for group in units.grouped(list(run.commits().values()))] == [1] * 6
    monkeypatch.setattr(units, "MAX_RECORDINGS", 100)
    monkeypatch.setattr(units, "MAX_SECONDS", 45.0)
    assert [len(group) for group in units.grouped([run.commits()[number] for number in range(6)])] == [2, 3, 1]


def test_what_is_gathered_is_what_was_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "MAX_RECORDINGS", 4)
    columns = {"speaker": [f"s{number % 3}" for number in range(len(OF_LETTERS))]}
    run = made(tmp_path / "run", OF_LETTERS, columns=columns)
    rows = scored(request_of(run, tmp_path / "out"))
    scores = gather(find(str(tmp_path / "out")))
    compared = [row for row in rows if row["word_hits"] is not None]
    assert scores.ids.to_pylist() == [row["id"] for row in compared]
    assert scores.words.num_errors.tolist() == [
        sum(row[f"word_{name}"] for name in COUNT_FIELDS[1:]) for row in compared
    ]
    assert scores.columns["speaker"].to_pylist() == [row["speaker"] for row in compared]
    coverage = scores.coverage
    assert (coverage.num_recordings, coverage.num_scored, coverage.num_without_reference) == (11, 8, 1)
    assert (coverage.num_failed, coverage.num_failed_with_reference, coverage.num_words_failed) == (2, 1, 2)
    assert coverage.failures == {"read: not audio": 1, "decode: too loud": 1}
    assert coverage.audio_s == 90.0
    some = list(tables(find(str(tmp_path / "out")), ["id", "word_alignment"]))
    assert [table.column_names for table in some] == [["id", "word_alignment"]] * 3
    assert [name for table in some for name in table["id"].to_pylist()] == [row["id"] for row in rows]


def test_a_run_of_which_all_failed_has_no_scores_but_its_coverage(tmp_path):
    run = made(tmp_path / "run", [failed("a", "x y"), failed("b", None)], columns={"speaker": ["s", "t"]})
    scored(request_of(run, tmp_path / "out"))
    scores = gather(find(str(tmp_path / "out")))
    assert len(scores) == len(scores.columns) == 0
    assert scores.columns.column_names == ["speaker"]
    assert (scores.coverage.num_failed, scores.coverage.num_words_failed) == (2, 2)


# ---- what goes wrong


def driven(request: Any, **how: Any) -> Any:
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress, **how)


def test_a_run_that_is_changed_while_it_is_scored_stops_that_with_a_word(tmp_path):
    run = made(tmp_path / "run", OF_LETTERS)
    request = request_of(run, tmp_path / "out")
    part = tmp_path / "run/data" / run.commits()[1].part
    before = part.read_bytes()
    part.write_bytes(before[:-1] + b"\0")
    with pytest.raises(UsageError, match=r"part-000001-\w+.parquet is another than was committed, so the run was chan"):
        driven(request)
    part.unlink()
    with pytest.raises(UsageError, match=r"part-000001-\w+.parquet is gone, so the run was changed while"):
        driven(request)
    part.write_bytes(before)
    assert driven(request).complete  # what was begun goes on


KILLED = """
import os, signal, sys, threading
from pipeline.evaluation import units
from pipeline.run import Run, find
from tests.evaluation.made_runs import request_of
from tests.evaluation.test_scoring import driven

units.MAX_RECORDINGS = 4
commit, calls, alone = Run.commit, [], threading.Lock()

def deadly(self, *arguments):
    with alone:  # units are scored side by side
        calls.append(arguments)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)  # its part is there, and does not count
        return commit(self, *arguments)

Run.commit = deadly
driven(request_of(find(sys.argv[1]), sys.argv[2], references=sys.argv[3]))
"""


def test_scoring_that_is_killed_goes_on_to_the_same_bytes_without_the_table_of_references(
    tmp_path, monkeypatch, capsys
):
    run = made(tmp_path / "run", [dataclasses.replace(one, reference=None) for one in OF_LETTERS])
    table = pa.table({"id": [one.id for one in OF_LETTERS], "text": [one.reference for one in OF_LETTERS]})
    references = tmp_path / "references.parquet"
    pq.write_table(table, references)
    arguments = [str(tmp_path / "run"), str(tmp_path / "out"), str(references)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (committed,) = (tmp_path / "out/commits").iterdir()
    assert len(list((tmp_path / "out/data").glob("part-*"))) >= 2
    first = committed.read_bytes()
    references.unlink()
    summary = driven(request_of(run, tmp_path / "out", references=references))
    assert "references.parquet is gone: references are what was in it when it was joined" in capsys.readouterr().err
    assert summary.complete and summary.num_units == 3
    assert committed.read_bytes() == first
    monkeypatch.setattr(units, "MAX_RECORDINGS", 4)
    pq.write_table(table, references)
    scored(request_of(run, tmp_path / "calm", references=references))
    found = [{p.name: p.read_bytes() for p in (tmp_path / out / "data").iterdir()} for out in ("out", "calm")]
    assert found[0] == found[1]


@pytest.mark.ray
def test_on_ray_rows_are_the_same(tmp_path, monkeypatch, ray_here):
    monkeypatch.setattr(units, "MAX_RECORDINGS", 4)
    run = made(tmp_path / "run", OF_LETTERS)
    assert driven(request_of(run, tmp_path / "out", "run.address=local")).complete
    assert rows_of(find(str(tmp_path / "out"))) == scored(request_of(run, tmp_path / "here"))


def test_a_unit_that_does_not_come_back_is_told_and_no_recording_is_tried_alone(tmp_path, monkeypatch, capsys):
    """As Ray drops those whose processes die again and again (`test_carry`)."""
    monkeypatch.setattr(units, "MAX_RECORDINGS", 4)
    run = made(tmp_path / "run", OF_LETTERS)
    request = request_of(run, tmp_path / "out", "run.address=local")
    monkeypatch.setattr("pipeline.drive.ray_session", lambda config: nullcontext([Node(2, 0)]))
    monkeypatch.setattr(
        "pipeline.drive.on_ray", lambda stages, left: in_process(stages, [u for u in left if u.id != 1])
    )
    with pytest.raises(StageError) as caught:
        driven(request)
    assert caught.value.message.startswith("scoring unit 1 killed its processes whenever it was tried")
    assert caught.value.trace == ""
    assert "one by one" not in capsys.readouterr().err
    assert sorted(path.stem for path in (tmp_path / "out/commits").iterdir()) == ["000000", "000002"]


def test_a_tally_of_rows_is_that_of_their_recordings(tmp_path):
    run = made(tmp_path / "run", OF_LETTERS, vocabulary=LETTERS, unit_s=1000.0)
    scored(request_of(run, tmp_path / "out"))
    (table,) = tables(find(str(tmp_path / "out")))
    unit = Unit(0, [dataclasses.replace(one) for one in OF_LETTERS])
    Scorer(ScoreSettings())(unit)
    unit.finish()
    assert tally_of(table) == Tally.of(unit.recordings)
