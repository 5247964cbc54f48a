"""The run directory: what counts, what is refused, what is cleaned up. No models, no Ray."""

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import run as runs
from pipeline.commit import Commit, Stored, Tally, file_name
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import ErrorCounts, Word
from pipeline.run import Run
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from pipeline.unit import Unit
from pipeline.write import Writer, read_parts

SETTINGS = {"input": "/audio", "encode.model": "tiny (1234)"}


class Listed:
    """An input of recordings that need no files."""

    description = "a list"
    schema = pa.schema([("speaker", pa.string())])

    def __init__(self, num_recordings: int = 6) -> None:
        self.num_recordings = num_recordings

    def check(self):
        pass

    def freeze(self, manifest):
        with Spool(self, ReadConfig()) as listed:
            return listed.freeze(manifest)

    def pieces(self):
        for number in range(self.num_recordings):
            entry = Entry(f"r{number}", f"/audio/r{number}.wav", duration_s=20.0, reference="A B")
            entry.columns = {"speaker": f"s{number % 2}"}
            yield Piece([entry])


def prepared(path: Path | str, settings: dict[str, object] = SETTINGS, num_recordings: int = 6) -> Run:
    folder = Folder(str(path))
    return runs.check_target(folder, settings) or runs.prepare(folder, settings, Listed(num_recordings), {})


def finished(unit: Unit, failing: str | None = None) -> Unit:
    for recording in unit.pending():
        recording.text, recording.words, recording.confidence = "A", [Word("A", 0.0, 0.5, 0.75)], 0.5
        recording.duration_s = 20.0
        recording.word_errors, recording.char_errors = ErrorCounts(1, 0, 1, 0), ErrorCounts(1, 0, 2, 0)
        if recording.id == failing:
            recording.status, recording.error = "failed", "read: not audio"
            recording.text = recording.words = recording.word_errors = recording.char_errors = None
    return unit


def written(run: Run, failing: str | None = None) -> None:
    for info in run.manifest.units():
        Writer(run)(finished(run.load(Unit(info.id)), failing))


def test_rows_in_are_rows_out_with_their_columns(tmp_path):
    run = prepared(tmp_path / "out")
    written(run, failing="r3")
    rows = read_parts(run).to_pylist()
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(6)]
    assert [row["speaker"] for row in rows] == ["s0", "s1"] * 3
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["failed"] + ["ok"] * 2
    assert rows[3]["error"] == "read: not audio"
    assert rows[3]["text"] is None
    assert rows[0]["words"] == [{"word": "A", "start_s": 0.0, "end_s": 0.5, "confidence": 0.75, "posterior": None}]


def test_a_part_without_a_commit_does_not_count_and_is_removed(tmp_path):
    run = prepared(tmp_path / "out")
    written(run)
    (tmp_path / "out/commits" / file_name(1, 0)).unlink()
    (tmp_path / "out/data/.part-000002.parquet.1234.tmp").write_bytes(b"half a part")
    assert len(read_parts(run)) < 6
    assert [unit.id for unit in runs.pending_units(run.manifest.units(), run.commits(), False)] == [1]
    run.sweep(run.commits())
    left = {path.name for path in (tmp_path / "out/data").iterdir()}
    assert left == {commit.part for commit in run.commits().values()}


def test_the_same_unit_written_twice_is_the_same_bytes(tmp_path):
    """A worker that was thought dead may write its unit after another has: that must change nothing."""
    run = prepared(tmp_path / "out")
    first = Writer(run)(finished(run.load(Unit(0)))).commit
    (tmp_path / "out/commits" / file_name(0, 0)).unlink()
    late = run.load(Unit(0))
    late.stage_s["encode"] = 123.0
    again = Writer(run)(finished(late)).commit
    assert (again.part, again.sha256) == (first.part, first.sha256)
    assert run.folder.sub("data").names() == [first.part]


def test_retrying_keeps_what_is_finished_and_the_old_part_until_the_new_commit(tmp_path):
    run = prepared(tmp_path / "out")
    written(run, failing="r3")
    (unit,) = runs.pending_units(run.manifest.units(), run.commits(), retry_failed=True)
    loaded = run.load(unit)
    assert [recording.id for recording in loaded.pending()] == ["r3"]
    assert all(r.text == "A" and r.words and r.word_errors for r in loaded.recordings if r.id != "r3")
    before = len(read_parts(run))
    first_part = run.commits()[unit.id].part
    run.folder.sub("data").publish(f"part-{unit.id:06d}-retry1-12345678.parquet", b"killed before the commit")
    assert len(read_parts(run)) == before
    Writer(run)(finished(loaded))
    assert len(read_parts(run)) == before
    assert set(read_parts(run)["status"].to_pylist()) == {"ok"}
    assert runs.pending_units(run.manifest.units(), run.commits(), retry_failed=True) == []
    run.sweep(run.commits())
    left = {path.name for path in (tmp_path / "out/data").iterdir()}
    assert left == {commit.part for commit in run.commits().values()}
    assert first_part not in left


def test_what_is_committed_is_neither_written_over_nor_written_again(tmp_path):
    """By a task that is done twice, on another kind of processor perhaps, whose floats end differently."""
    run = prepared(tmp_path / "out")
    first = Writer(run)(finished(run.load(Unit(0)))).commit
    part = tmp_path / "out/data" / first.part
    before = part.read_bytes()
    late = finished(run.load(Unit(0)))
    late.recordings[0].confidence = 0.25
    assert Writer(run)(late).commit == first
    assert part.read_bytes() == before
    assert run.commit(dataclasses.replace(first, written_at=0.0)) == first  # both wrote, of the same bytes


def test_of_two_that_did_one_unit_the_first_counts_and_the_other_is_swept(tmp_path, monkeypatch):
    """Both found it undone, and theirs differ in the last digit of a float."""
    run = prepared(tmp_path / "out")
    first, late = finished(run.load(Unit(0))), finished(run.load(Unit(0)))
    late.recordings[0].confidence = 0.25
    committed = Writer(run)(first).commit
    monkeypatch.setattr(Run, "done_before", lambda self, unit: None)
    assert Writer(run)(late).commit == committed
    assert len(run.folder.sub("data").names()) == 2
    run.sweep(run.commits())
    assert run.folder.sub("data").names() == [committed.part]
    assert Stored.of(committed.part, run.folder.sub("data").read(committed.part)).sha256 == committed.sha256


def test_a_late_worker_of_a_run_that_was_started_anew_stays_out_of_it(tmp_path):
    """The same settings, but the input was listed again, and unit 0 is now others' recordings."""
    old = prepared(tmp_path / "out")
    late = finished(old.load(Unit(0)))
    runs.clear(old.folder)
    new = prepared(tmp_path / "out", num_recordings=3)
    assert new.id != old.id
    Writer(old)(late)
    assert [unit.id for unit in runs.pending_units(new.manifest.units(), new.commits(), False)] == [0, 1]
    assert len(read_parts(new)) == 0
    with pytest.raises(UsageError, match="unit 0 is committed by another run"):
        Writer(new)(finished(new.load(Unit(0))))
    new.sweep(new.commits())  # as the next start does
    written(new)
    assert len(read_parts(new)) == 3


def test_an_empty_commit_that_a_kill_left_is_written_over(tmp_path):
    run = prepared(tmp_path / "out")
    (tmp_path / "out/commits").mkdir()
    (tmp_path / "out/commits" / file_name(0, 0)).touch()
    Writer(run)(finished(run.load(Unit(0))))
    assert list(run.commits()) == [0]


def test_the_last_attempt_counts_and_the_others_are_swept(tmp_path):
    """Also where a kill came between the commit of an attempt and the sweep."""
    run = prepared(tmp_path / "out")
    written(run, failing="r3")
    for attempt in (1, 2):
        (unit,) = runs.pending_units(run.manifest.units(), run.commits(), retry_failed=True)
        assert unit.attempt == attempt
        Writer(run)(finished(run.load(unit), failing="r3" if attempt == 1 else None))
        assert run.commit_of(unit.id).attempt == run.commits()[unit.id].attempt == attempt
    assert len(read_parts(run)) == 6
    run.sweep(run.commits())
    names = {path.name for path in (tmp_path / "out/commits").iterdir()}
    assert file_name(unit.id, 2) in names
    assert len(names) == len(run.manifest.units())
    assert run.commit_of(unit.id).attempt == 2


def test_a_commit_without_its_part_is_swept_so_that_another_can_take_its_place(tmp_path):
    run = prepared(tmp_path / "out")
    written(run)
    (tmp_path / "out/data" / run.commits()[1].part).unlink()
    run.sweep(run.commits())
    assert not (tmp_path / "out/commits" / file_name(1, 0)).exists()
    Writer(run)(finished(run.load(Unit(1))))
    assert len(read_parts(run)) == 6


def test_a_commit_from_before_retries_were_counted_is_read():
    values = json.loads(Commit(7, "part", 10, "ab", "cd", Tally()).to_json())
    del values["num_retried"]
    assert Commit.from_json(json.dumps(values).encode()).num_retried == 0


def test_a_commit_survives_its_json():
    tally = Tally(3, 2, 1, {"read: not audio": 1}, 4.5, 2, 1, ErrorCounts(1, 2, 3, 4), ErrorCounts(5, 6, 7, 8))
    commit = Commit(7, "part-000007.parquet", 10, "ab", "cd", tally, 2, {"read": 0.5}, {"read": 0.25}, 1.5)
    with_emissions = dataclasses.replace(commit, emissions=Stored("emissions-000007.parquet", 20, "ef"))
    for one in (commit, with_emissions):
        assert Commit.from_json(one.to_json()) == one


@pytest.mark.parametrize("damage", [Path.unlink, lambda part: part.write_bytes(part.read_bytes()[:-1])])
def test_a_commit_whose_part_is_gone_or_cut_short_does_not_count(tmp_path, damage):
    run = prepared(tmp_path / "out")
    written(run)
    damage(tmp_path / "out/data" / run.commits()[1].part)
    assert [unit.id for unit in runs.pending_units(run.manifest.units(), run.commits(), False)] == [1]


def test_a_commit_of_another_run_does_not_count(tmp_path):
    run = prepared(tmp_path / "out")
    written(run)
    assert Run(run.folder, "another").commits() == {}


def test_what_is_not_ours_in_data_is_left_alone(tmp_path):
    run = prepared(tmp_path / "out")
    written(run)
    (tmp_path / "out/data/_SUCCESS").touch()
    (tmp_path / "out/data/mine").mkdir()
    run.sweep(run.commits())
    assert {"_SUCCESS", "mine"} <= {path.name for path in (tmp_path / "out/data").iterdir()}


def test_another_run_is_refused_naming_what_changed(tmp_path):
    prepared(tmp_path / "out")
    with pytest.raises(UsageError, match=r"encode\.model: tiny \(1234\) -> large \(5678\)"):
        prepared(tmp_path / "out", {**SETTINGS, "encode.model": "large (5678)"})
    prepared(tmp_path / "out")  # the same settings resume


def test_of_another_decoder_its_files_are_named_and_not_each_of_its_settings(tmp_path):
    greedy = {**SETTINGS, "decode.decoder": "greedy"}
    native = {"decode.decoder": "native", "decode.alpha": 0.5, "decode.lm": ["contents 1"], "decode.lexicon": None}
    prepared(tmp_path / "native", {**SETTINGS, **native})
    with pytest.raises(UsageError) as refused:
        prepared(tmp_path / "native", greedy)
    told = "is another run (decode.decoder: native -> greedy; decode.lm: ['contents 1'] -> unset); give"
    assert told in str(refused.value)
    with pytest.raises(UsageError, match=r"run \(decode.alpha: 0.5 -> 1; read.new: unset -> 1\)"):  # the same decoder
        prepared(tmp_path / "native", {**SETTINGS, **native, "decode.alpha": 1, "read.new": 1})


def test_a_start_that_was_killed_is_started_again(tmp_path):
    prepared(tmp_path / "out")
    (tmp_path / "out/run.json").unlink()
    (tmp_path / "out/manifest/units.parquet").unlink()
    assert prepared(tmp_path / "out").manifest.units()


def test_foreign_files_are_neither_mixed_with_nor_deleted(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"not a run and not empty.*thesis\.tex"):
        prepared(tmp_path)
    with pytest.raises(UsageError, match=r"nothing was deleted"):
        runs.clear(Folder(str(tmp_path)))
    prepared(tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    runs.clear(Folder(str(tmp_path / "out")))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_the_manifest_is_frozen(tmp_path):
    """A file added between start and resume must not shift what the units hold."""
    run = prepared(tmp_path / "out")
    before = [run.load(Unit(unit.id)).recordings for unit in run.manifest.units()]
    again = prepared(tmp_path / "out", num_recordings=1000)
    assert [again.load(Unit(unit.id)).recordings for unit in again.manifest.units()] == before


def test_no_run_there_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"no run there"):
        runs.find(str(tmp_path))


def test_runs_work_on_any_fsspec_store():
    run = prepared("memory://bucket/run")
    written(run)
    assert len(read_parts(run)) == 6
    assert json.loads(run.folder.read("run.json"))["num_recordings"] == 6
    run.sweep(run.commits())
    runs.clear(run.folder)
    assert run.folder.names() == []
