"""Kaldi directories: segments, what other files say, paths that count from elsewhere, and commands that never run."""

from pathlib import Path

import fsspec
import pytest

from pipeline.config import ReadConfig
from pipeline.records import WHOLE, Cut
from pipeline.sources import found as inputs
from pipeline.sources.kaldi import ARCHIVE, COMMAND, STREAM, Kaldi, recognised
from pipeline.sources.lhotse import Lhotse
from tests.sources.listing import CONFIG, entries, reasons, refusal, walked, write

DIRECTORY: dict[str, str | bytes] = {
    "wav.scp": "r1 r 1.wav\nr2 /abs/r2.flac\nr3\ts3://b/r3.wav  \nr4 r4.wav\n",
    "segments": "s1-1 r1 0.5 2.0\ns1-2 r1 2.0 -1\ns2-1 r2 1.0 20.89 1\n\ns3-1 r3 0 1.25\n",
    "text": "s1-1 HELLO WORLD\ns1-2\ns2-1  GRÜẞE\t GOTT \ns9-9 NOBODY\n",
    "utt2spk": "s1-1 anna\ns1-2 anna\ns2-1 ben\ns3-1 cleo\n",
    "spk2gender": "anna f\nben m\n",
    "spk2utt": "anna s1-1 s1-2\nben s2-1\ncleo s3-1\n",
    "utt2lang": "s2-1 de\n",
    "utt2num_frames": "s1-1 150\n",
    "utt2dur": "s1-1 1.5\ns1-2 7.5\n",
    "reco2dur": "r1 9.5\n",
    "r 1.wav": "not read here",
}


def test_a_segmented_directory_is_its_segments(tmp_path: Path) -> None:
    source, found = walked(Kaldi, write(tmp_path, DIRECTORY))
    assert [(e.id, e.uri, e.cut) for e in found] == [
        ("s1-1", f"{tmp_path}/r 1.wav", Cut(0.5, 1.5)),
        ("s1-2", f"{tmp_path}/r 1.wav", Cut(2.0)),
        ("s2-1", "/abs/r2.flac", Cut(1.0, 19.89, 1)),
        ("s3-1", "s3://b/r3.wav", Cut(0.0, 1.25)),
    ]
    assert [(e.size, e.duration_s) for e in found] == [(13, 1.5), (13, 7.5), (None, 19.89), (None, 1.25)]
    assert [e.reference for e in found] == ["HELLO WORLD", "", "GRÜẞE\t GOTT", None]
    assert [e.columns["speaker"] for e in found] == ["anna", "anna", "ben", "cleo"]
    assert [e.columns["gender"] for e in found] == ["f", "f", "m", None]
    assert [e.columns["language"] for e in found] == [None, None, "de", None]
    assert sorted(source.schema.names) == ["gender", "language", "num_frames", "speaker"]
    assert "recordings without a segment, left out: 1" in source.description
    assert "lines of text without an utterance, left out: 1" in source.description


def test_without_segments_a_recording_is_an_utterance(tmp_path: Path) -> None:
    files = {name: content for name, content in DIRECTORY.items() if name not in ("segments", "utt2spk")}
    source, found = walked(Kaldi, write(tmp_path, files | {"text": "r1 A\n"}))
    assert [(e.id, e.cut, e.duration_s, e.reference) for e in found] == [
        ("r1", WHOLE, 9.5, "A"),
        *[(name, WHOLE, None, None) for name in ("r2", "r3", "r4")],
    ]
    assert source.description == "a Kaldi directory"


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    """Sorted ones are read side by side, others are held: a missed line would be a reference less."""
    expected = {e.id: e for e in entries(Kaldi, write(tmp_path / "sorted", DIRECTORY))}
    backwards = {
        name: "\n".join(reversed(str(content).splitlines())) if name != "r 1.wav" else content
        for name, content in DIRECTORY.items()
    }
    found = {e.id: e for e in entries(Kaldi, write(tmp_path / "unsorted", backwards))}
    assert found.keys() == expected.keys()
    for name, entry in found.items():
        entry.uri = entry.uri.replace("/unsorted/", "/sorted/")
        entry.version = expected[name].version
        assert entry == expected[name]


def test_commands_and_archives_are_refused_and_nothing_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    lines = f"a touch {ran} |\nb | touch {ran}\nc raw.ark:12\nd d.wav\ne sox `touch {ran}` -t wav - |\n"
    found = entries(Kaldi, write(tmp_path, {"wav.scp": lines, "d.wav": ""}))
    assert reasons(found) == [COMMAND, COMMAND, ARCHIVE, None, COMMAND]
    assert [entry.uri for entry in found[:3]] == [f"{tmp_path}/wav.scp"] * 3
    write(tmp_path, {"wav.scp": "".join(line for line in lines.splitlines(True) if not line.startswith("d"))})
    assert refusal(Kaldi, tmp_path).startswith(f"{tmp_path}/wav.scp: nothing but commands (what ends in |)")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        ("u r9 0 1", "a segment of no recording in wav.scp"),
        ("u r1 x 1", "segment without a valid start"),
        ("u r1 -1 1", "segment without a valid start"),
        ("u r1 0 nan", "segment without a valid end"),
        ("u r1 2 1", "segment without a valid duration"),
        ("u r1 2 2", "segment without a valid duration"),
        ("u r1 0 1 A", "channel is not a whole number"),
    ],
)
def test_a_segment_that_cannot_be_cut_is_a_failed_row(tmp_path: Path, segment: str, reason: str) -> None:
    files: dict[str, str | bytes] = {"wav.scp": "r1 a.wav\n", "segments": f"{segment}\nv r1 0 1\n"}
    assert reasons(entries(Kaldi, write(tmp_path, files))) == [reason, None]


@pytest.mark.parametrize("folder", ["s5/data/train", "s5/data", "s5"])
def test_paths_count_from_the_nearest_folder_above_below_which_they_are(tmp_path: Path, folder: str) -> None:
    """Kaldi means the directory that its scripts were run in."""
    write(tmp_path, {"s5/audio/a.wav": "", f"{folder}/wav.scp": "z sox |\na audio/gone.wav\nb audio/a.wav\n"})
    uris = [entry.uri for entry in entries(Kaldi, tmp_path / folder)]
    assert uris[1:] == [f"{tmp_path}/s5/audio/gone.wav", f"{tmp_path}/s5/audio/a.wav"]


def test_paths_may_count_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"here/audio/a.wav": "", "there/data/wav.scp": "a audio/a.wav\n"})
    assert [e.uri for e in entries(Kaldi, tmp_path / "there/data")] == [f"{tmp_path}/there/data/audio/a.wav"]
    monkeypatch.chdir(tmp_path / "here")
    assert [e.uri for e in entries(Kaldi, tmp_path / "there/data")] == [f"{tmp_path}/here/audio/a.wav"]


def test_a_directory_in_a_store(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe({"/kaldi/data/wav.scp": b"a ./audio/a.wav\n", "/kaldi/data/text": b"a A\n", "/kaldi/audio/a.wav": b""})
    try:
        for url in ("memory://kaldi/data", "memory://kaldi/data/wav.scp"):
            [found] = entries(Kaldi, url)
            assert (found.uri, found.reference) == ("memory:///kaldi/audio/a.wav", "A")
    finally:
        files.rm("/kaldi", recursive=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav.scp": "a a.wav\nb\n"}, "wav.scp line 2: nothing after 'b'"),
        ({"wav.scp": b"a caf\xe9.wav\n"}, "wav.scp line 1: not UTF-8"),
        ({"wav.scp": "a https://user:secret@h/a.wav\n"}, "wav.scp: a: https://h: no credentials in URLs"),
        ({"wav.scp": ""}, "wav.scp: no utterances"),
        ({"wav.scp": "a a.wav\n", "segments": "u a 1\n"}, "segments line 1: expected an utterance, a recording,"),
        ({"wav.scp": "a a.wav\n", "segments": "u a 0 1\n", "text": "u A\nu B\n"}, "text: u twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    assert refusal(Kaldi, write(tmp_path, files)).startswith(f"{tmp_path}/{message}")


def test_one_directory_is_an_input(tmp_path: Path) -> None:
    write(tmp_path, {"train/wav.scp": "a a.wav\n", "a.wav": ""})
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)  # audio, among which one lies
    assert [entry.id for entry in entries(Kaldi, tmp_path)] == ["a"]
    write(tmp_path, {"dev/wav.scp": "a a.wav\n"})
    assert f"(several: name one of {tmp_path}/dev/wav.scp, {tmp_path}/train/wav.scp)" in refusal(Kaldi, tmp_path)
    assert "(none is there)" in refusal(Kaldi, tmp_path / "a.wav")
    assert recognised(inputs.find(str(tmp_path / "dev")), CONFIG)
    assert recognised(inputs.find(str(tmp_path / "dev" / "wav.scp")), CONFIG)


@pytest.mark.parametrize("name", ["mini_librispeech", "mini_librispeech2"])
def test_real_directories_say_what_lhotse_made_of_them(tmp_path: Path, shared_data: Path, name: str) -> None:
    """Lhotse's own import of the same directory is the oracle; its commands are files here."""
    import gzip

    original = shared_data / "formats" / name
    assert "nothing but commands" in refusal(Kaldi, original)
    assert "all recordings are commands" in refusal(Lhotse, original / "lhotse")
    for file in original.iterdir():
        if file.is_file():
            write(tmp_path, {file.name: file.read_bytes()})
    scp = (original / "wav.scp").read_text().splitlines()
    write(tmp_path, {"wav.scp": "".join(f"{line.split()[0]} audio/{line.split()[0]}.wav\n" for line in scp)})
    for file in (original / "lhotse").glob("[rs]*.gz"):
        content = gzip.decompress(file.read_bytes()).decode()
        write(tmp_path, {f"lhotse/{file.name}": gzip.compress(content.replace('"command"', '"file"').encode())})
    ours, theirs = entries(Kaldi, tmp_path), entries(Lhotse, tmp_path / "lhotse")
    assert len(ours) == len(scp)
    assert reasons(ours) == reasons(theirs) == [None] * len(scp)

    def said(found):
        return {e.id: (e.reference, e.columns["speaker"], e.columns["gender"], e.cut.offset_s) for e in found}

    assert said(ours) == said(theirs)
    lengths = {e.id: e.cut.length_s for e in theirs}
    assert {e.id: e.cut.length_s for e in ours} == pytest.approx(lengths, abs=0.0201)  # its frames are whole


def test_columns_that_are_asked_for_are_used_or_refused(tmp_path: Path) -> None:
    """A typo must not score a night against the wrong reference."""
    root = write(tmp_path, {"wav.scp": "a a.wav\nb b.wav\n", "text": "a A\n", "utt2norm": "a N\n", "utt2name": "b B\n"})
    found = entries(Kaldi, root, ReadConfig(id_column="name", reference_column="norm"))
    assert [(e.id, e.reference, e.columns) for e in found] == [("a", "N", {}), ("B", None, {})]
    assert [e.reference for e in entries(Kaldi, root, ReadConfig(reference_column="text"))] == ["A", None]
    for option in ("id_column", "reference_column"):
        assert f"no column typo (read.{option})" in refusal(Kaldi, root, ReadConfig(**{option: "typo"}))


def test_standard_input_is_no_file(tmp_path: Path) -> None:
    found = entries(Kaldi, write(tmp_path, {"wav.scp": "a -\nb b.wav\n"}))
    assert reasons(found) == [STREAM, None]
