"""Lhotse manifests: supervisions and cuts in time, channels in one or several files, and commands that never run."""

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.records import WHOLE, Cut
from pipeline.sources import found as inputs
from pipeline.sources.cuts import COMMAND, Recorded, of_cut, of_recording, of_supervision
from pipeline.sources.lhotse import Lhotse, recognised
from tests.sources.listing import CONFIG, entries, entries_or_refusal, json_lines, reasons, refusal, walked, write


def recording(name: str, *sources: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = list(sources) or [source(f"{name}.wav")]
    return {"id": name, "sources": given, "sampling_rate": 16_000, "num_samples": 480_000, "duration": 30.0, **more}


def source(path: str, *channels: int, type: str = "file") -> dict[str, Any]:
    return {"type": type, "channels": list(channels) or [0], "source": path}


def supervision(name: str, of: str, start: float = 1.0, duration: float = 2.5, **more: Any) -> dict[str, Any]:
    return {"id": name, "recording_id": of, "start": start, "duration": duration, "channel": 0, **more}


def cut(name: str, start: float, duration: float, **more: Any) -> dict[str, Any]:
    return {"id": name, "start": start, "duration": duration, "channel": 0, "type": "MonoCut", **more}


def test_recordings_and_supervisions_are_segments(tmp_path: Path) -> None:
    said = {"text": "HELLO", "speaker": "anna", "gender": "f", "language": "en"}
    lines = {
        "recordings.jsonl.gz": gzip.compress(json_lines(recording("b"), recording("a"), recording("c")).encode()),
        "supervisions.jsonl.gz": gzip.compress(
            json_lines(
                supervision("s1", "a", **said, custom={"snr": 3.5, "speaker": "taken", "words": [1]}),
                supervision("s2", "b", 0.1, 0.2),
                supervision("s3", "nobody"),
            ).encode()
        ),
        "features.jsonl.gz": gzip.compress(json_lines({"storage_type": "x", "recording_id": "a"}).encode()),
        "a.wav": "not read here",
    }
    listed, found = walked(Lhotse, write(tmp_path, lines))
    assert [(e.id, e.cut, e.duration_s, e.reference) for e in found] == [
        ("s1", Cut(1.0, 2.5, 0), 2.5, "HELLO"),
        ("s2", Cut(0.1, 0.2, 0), 0.2, None),
        ("s3", Cut(1.0, 2.5), 2.5, None),
    ]
    assert (found[0].uri, found[0].size) == (f"{tmp_path}/a.wav", 13)
    assert found[0].columns == {
        **{"recording_id": "a", "speaker": "anna", "gender": "f", "language": "en"},
        **{"snr": 3.5, "custom_speaker": "taken", "words": "[1]"},
    }
    assert reasons(found) == [None, None, "a supervision of no recording in the manifest"]
    assert listed.description == (
        "Lhotse manifests: 1 of recordings with supervisions; recordings without a supervision, left out: 1"
    )
    assert {"speaker", "snr", "custom_speaker"} <= set(listed.schema.names)


def test_recordings_alone_are_rows(tmp_path: Path) -> None:
    stereo = recording("stereo", source("s.wav", 0, 1))
    array = recording("array", source("one.wav", 0), source("https://h/two.wav", 1, type="url"))
    write(tmp_path, {"recordings.jsonl": json_lines(stereo, array)})
    found = entries(Lhotse, tmp_path)
    assert [(e.id, e.uri, e.cut, e.duration_s) for e in found] == [
        ("stereo", f"{tmp_path}/s.wav", WHOLE, 30.0),
        ("array:0", f"{tmp_path}/one.wav", WHOLE, 30.0),
        ("array:1", "https://h/two.wav", WHOLE, 30.0),
    ]


@pytest.mark.parametrize(
    ("channel", "heard"),
    [
        (0, [("s", "stereo.wav", 0)]),
        ([1], [("s", "stereo.wav", 1)]),
        ([0, 1], [("s", "stereo.wav", None)]),
        (3, [("s", "two.wav", 1)]),
        ([2, 3], [("s", "two.wav", None)]),
        ([0, 2], [("s:0", "stereo.wav", 0), ("s:2", "two.wav", 0)]),
        (None, [("s:0", "stereo.wav", None), ("s:2", "two.wav", None), ("s:4", "three.wav", None)]),
    ],
)
def test_a_channel_is_picked_from_the_file_that_has_it(channel: Any, heard: list[Any]) -> None:
    sources = (source("stereo.wav", 0, 1), source("two.wav", 2, 3), source("three.wav", 4, 5, 6))
    recorded = Recorded.of(recording("r", *sources))
    rows = list(of_supervision(supervision("s", "r") | {"channel": channel}, recorded))
    assert [(row.id, row.path, row.cut.channel) for row in rows] == heard
    assert all(row.cut[:2] == (1.0, 2.5) and row.error is None for row in rows)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"channel": 7}, "a channel that its recording lacks"),
        ({"channel": [0, 1]}, "some of the channels of a file together"),
        ({"channel": "left"}, "channel is not a whole number"),
        ({"channel": []}, "channel is not a whole number"),
        ({"start": None}, "segment without a valid start and duration"),
        ({"start": float("nan")}, "segment without a valid start and duration"),
        ({"duration": 0}, "segment without a valid start and duration"),
        ({"start": -9.0}, "segment outside its recording"),
    ],
)
def test_a_supervision_that_cannot_be_heard_is_a_failed_row(fields: dict[str, Any], reason: str) -> None:
    recorded = Recorded.of(recording("r", source("a.wav", 0, 1, 2)))
    [row] = of_supervision(supervision("s", "r") | fields, recorded)
    assert row.error is not None
    assert row.error.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"sources": []}, "a recording without an audio source"),
        ({"sources": ["a.wav"]}, "a recording without an audio source"),
        ({"sources": [{"type": "memory", "source": "UklGRg=="}]}, "an audio source that is neither a file nor a URL"),
        ({"sources": [{"type": "file", "source": None}]}, "an audio source that is neither a file nor a URL"),
        ({"sources": [{"type": "file", "source": "a", "channels": []}]}, "an audio source without channels"),
        ({"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, "a recording that is changed when it is"),
        ({"transforms": ["?"]}, "a recording that is changed when it is loaded"),
    ],
)
def test_a_recording_that_cannot_be_heard_is_a_failed_row(fields: dict[str, Any], reason: str) -> None:
    [row] = of_recording(Recorded.of(recording("r") | fields))
    assert row.error is not None
    assert row.error.reason.startswith(reason)


def test_a_recording_that_is_resampled_is_heard_as_it_is() -> None:
    resampled = recording("r", transforms=[{"name": "Resample", "kwargs": {"target_sampling_rate": 8000}}])
    assert [row.error for row in of_recording(Recorded.of(resampled))] == [None]


def test_cuts_are_their_supervisions_or_themselves(tmp_path: Path) -> None:
    two = [
        supervision("s1", "r", -0.5, 1.2, text="A", custom={"snr": 1}),
        supervision("s2", "r", 3.1, 0.2, channel=[1]),
    ]
    stereo = recording("r", source("r.wav", 0, 1))
    cuts = [
        cut("c1", 10.1, 5.0, recording=stereo, supervisions=two, custom={"snr": 2, "split": "dev"}),
        cut("c2", 20.0, 4.0, recording=stereo, supervisions=[], channel=1),
        cut("c3", 0.2, 4.0, recording=stereo, supervisions=[supervision("s3", "r", -0.3, 1.0)]),
        cut("c4", 0, 4.0, type="MixedCut", tracks=[]),
        cut("c5", 0, 4.0, supervisions=[]),
        cut("c6", 0, 4.0, type="MultiCut", recording=stereo, channel=[0, 1]),
    ]
    listed, found = walked(Lhotse, write(tmp_path, {"train_cuts.jsonl": json_lines(*cuts)}))
    assert [(e.id, e.cut, e.reference) for e in found] == [
        ("s1", Cut(9.6, 1.2, 0), "A"),
        ("s2", Cut(13.2, 0.2, 1), None),
        ("c2", Cut(20.0, 4.0, 1), None),
        ("s3", Cut(0.0, 0.9, 0), None),
        ("c4", WHOLE, None),
        ("c5", Cut(0.0, 4.0), None),
        ("c6", Cut(0.0, 4.0), None),
    ]
    assert reasons(found) == [*[None] * 4, "a cut that is made of others, or of no recording", "no recording", None]
    assert found[0].columns == {"recording_id": "r", "snr": 1, "cut_id": "c1", "cut_snr": 2, "split": "dev"}
    assert found[2].columns == {"recording_id": "r", "cut_id": "c2"}
    assert listed.description == "Lhotse manifests: 1 of cuts"


def test_commands_are_refused_and_nothing_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    command = recording("a", source(f"touch {ran}", type="command"))
    write(tmp_path, {"recordings.jsonl": json_lines(command, recording("b"))})
    assert reasons(entries(Lhotse, tmp_path)) == [COMMAND, None]
    write(tmp_path, {"recordings.jsonl": json_lines(command)})
    assert refusal(Lhotse, tmp_path).startswith(f"{tmp_path}: all recordings are commands, which are never run")
    assert not ran.exists()


def test_manifests_are_paired_by_their_names(tmp_path: Path) -> None:
    """As Lhotse's recipes write them; what belongs to another split must not be looked up in this one."""
    files: dict[str, str | bytes] = {}
    for split in ("train", "dev"):
        files[f"x_recordings_{split}.jsonl"] = json_lines(recording("r", source(f"{split}.wav")))
        files[f"x_supervisions_{split}.jsonl"] = json_lines(supervision(f"{split}-1", "r"))
    write(tmp_path, files)
    expected = {f"{split}-1": f"{tmp_path}/{split}.wav" for split in ("train", "dev")}
    assert {e.id: e.uri for e in entries(Lhotse, tmp_path)} == expected
    assert {e.id: e.uri for e in entries(Lhotse, tmp_path / "x_*.jsonl")} == expected
    for name in ("recordings", "supervisions"):
        assert [e.id for e in entries(Lhotse, tmp_path / f"x_{name}_dev.jsonl")] == ["dev-1"]
    (tmp_path / "x_recordings_dev.jsonl").unlink()
    message = f"{tmp_path}/x_supervisions_dev.jsonl: no manifest of the recordings that it is about"
    assert refusal(Lhotse, tmp_path) == message
    assert refusal(Lhotse, tmp_path / "x_supervisions_dev.jsonl") == message


def test_paths_count_from_a_folder_above(tmp_path: Path) -> None:
    """Lhotse means the directory that its recipe was run in."""
    manifest = json_lines(recording("a", source("corpus/a.wav")), recording("b", source("corpus/b.wav")))
    write(tmp_path, {"data/manifests/recordings.jsonl": manifest, "corpus/b.wav": ""})
    uris = [entry.uri for entry in entries(Lhotse, tmp_path / "data" / "manifests")]
    assert uris == [f"{tmp_path}/corpus/a.wav", f"{tmp_path}/corpus/b.wav"]


def test_what_is_recognised_is_what_the_first_record_says(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "mine.jsonl": json_lines(cut("c", 0, 1, recording=recording("r"))),
            "field_recordings.jsonl": json_lines({"path": "a.wav"}),
            "features.jsonl": json_lines({"recording_id": "r", "start": 0, "duration": 1, "storage_type": "x"}),
            "broken_cuts.jsonl": b"\xff",
        },
    )
    assert recognised(inputs.find(str(tmp_path / "mine.jsonl")), CONFIG)
    for name in ("field_recordings.jsonl", "features.jsonl", "broken_cuts.jsonl", ""):
        assert not recognised(inputs.find(str(tmp_path / name)), CONFIG)
        assert refusal(Lhotse, tmp_path / name).startswith(
            f"{tmp_path / name}: no Lhotse manifest of recordings, supervisions or cuts"
        )


def test_cuts_and_recordings_together_are_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, {"cuts.jsonl": json_lines(cut("c", 0, 1)), "recordings.jsonl": json_lines(recording("r"))})
    assert refusal(Lhotse, tmp_path) == (
        f"{tmp_path}: cuts, and recordings or supervisions; name one kind of them, with a glob"
    )
    assert [entry.id for entry in entries(Lhotse, tmp_path / "rec*")] == ["r"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "r", "sources": []}\nno\n', "recordings.jsonl line 2: not JSON"),
        (json_lines(recording("r"), recording("q"), recording("r")), "recordings.jsonl: r twice"),
        (json_lines(recording("r", source("nosuch://x"))), "supervisions.jsonl line 1: nosuch://x: Protocol"),
    ],
)
def test_a_record_that_cannot_be_used_is_named(tmp_path: Path, lines: str, message: str) -> None:
    write(tmp_path, {"recordings.jsonl": lines, "supervisions.jsonl": json_lines(supervision("s", "r"))})
    assert refusal(Lhotse, tmp_path).startswith(f"{tmp_path}/{message}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def changed(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The record with some of its fields anything at all."""
    return st.dictionaries(st.sampled_from([*record, "custom", "transforms"]), VALUES, max_size=4).map(record.__or__)


@given(changed(cut("c", 1.0, 2.0, supervisions=[supervision("s", "r")], recording=recording("r"))))
def test_whatever_a_cut_says_it_is_rows(record) -> None:
    rows = list(of_cut(record))
    assert rows
    assert all(row.error is not None or row.path is not None for row in rows)


@given(changed(recording("r")), changed(supervision("s", "r")))
def test_whatever_manifests_say_they_are_rows_or_a_refusal_by_name(tmp_path_factory, of_recordings, spoken) -> None:
    root = tmp_path_factory.mktemp("any")
    write(root, {"recordings.jsonl": json_lines(of_recordings), "supervisions.jsonl": json_lines(spoken)})
    found = entries_or_refusal(Lhotse, root)
    assert found.startswith(str(root)) if isinstance(found, str) else all(entry.id for entry in found)


def test_columns_that_are_asked_for_are_used_or_refused(tmp_path: Path) -> None:
    """A typo must not score a night against the wrong reference."""
    said = supervision("s", "r", text="RAW", custom={"normalized": "NORM"})
    root = write(tmp_path, {"recordings.jsonl": json_lines(recording("r")), "supervisions.jsonl": json_lines(said)})
    [found] = entries(Lhotse, root, ReadConfig(id_column="recording_id", reference_column="normalized"))
    assert (found.id, found.reference, found.columns) == ("r", "NORM", {})
    [found] = entries(Lhotse, root, ReadConfig(id_column="id", reference_column="text"))
    assert (found.id, found.reference) == ("s", "RAW")
    for option in ("id_column", "reference_column"):
        assert f"no column typo (read.{option})" in refusal(Lhotse, root, ReadConfig(**{option: "typo"}))


def test_cuts_are_recognised_though_the_first_is_a_mixed_one(tmp_path: Path) -> None:
    """It has no start. As a plain table they would be refused for want of a path."""
    mixed = {"id": "m", "type": "MixedCut", "tracks": [{"offset": 0, "cut": cut("c", 0, 1)}]}
    lines = json_lines(mixed, cut("c", 0, 1, recording=recording("r")))
    path = write(tmp_path, {"cuts.jsonl": lines}) / "cuts.jsonl"
    assert recognised(inputs.find(str(path)), CONFIG)
    assert reasons(entries(Lhotse, path)) == ["a cut that is made of others, or of no recording", None]
