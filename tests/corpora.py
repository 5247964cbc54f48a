"""The same few recordings as a corpus of every kind that can be read: what a run makes of one must be what it makes of
all.

Knows nothing of how they are read; the formats are written as their own tools would write them.
"""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from pipeline.demo.sample import SENTENCES, babble

RATE = 16_000
NUM_SHARDS = 3
NUMBERS = ("ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE", "TEN", "ELEVEN", "TWELVE")


class Clip(NamedTuple):
    """A recording, and what was said: no two clips say the same, so that corpora can be compared by it."""

    name: str
    text: str
    samples: npt.NDArray[np.int16]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


@cache
def clips(num_clips: int = 24) -> list[Clip]:
    """One to two and a half seconds each, of whole hundredths, so that an offset in seconds names a sample."""
    rng = np.random.default_rng(20260102)
    found = []
    for number in range(num_clips):
        samples = babble(rng, int(rng.integers(100, 250)) / 100, RATE)
        text = f"{SENTENCES[number % len(SENTENCES)]} {NUMBERS[number % 12]} {NUMBERS[number // 12]}"
        found.append(Clip(f"clip-{number:02d}", text, (samples * 32767).astype(np.int16)))
    return found


def encoded(samples: npt.NDArray[np.int16], format: str = "FLAC") -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, RATE, format=format)
    return sink.getvalue()


def _shards(of: list[Clip]) -> list[list[Clip]]:
    return [of[number::NUM_SHARDS] for number in range(NUM_SHARDS)]


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _long_files(folder: Path, of: list[Clip], extension: str) -> list[tuple[str, float, Clip]]:
    """The clips one after the other in a few long files: (file, where the clip begins in it, clip)."""
    placed = []
    for number, shard in enumerate(_shards(of)):
        name, start = f"session-{number}.{extension}", 0
        for clip in shard:
            placed.append((name, start / RATE, clip))
            start += len(clip.samples)
        soundfile.write(folder / name, np.concatenate([clip.samples for clip in shard]), RATE)
    return placed


# ---- the kinds, by what `read.source` calls them; each returns what is given to the command


def files(folder: Path, of: list[Clip]) -> Path:
    for clip in of:
        (folder / f"{clip.name}.flac").write_bytes(encoded(clip.samples))
    return folder


def parquet(folder: Path, of: list[Clip]) -> Path:
    for number, shard in enumerate(_shards(of)):
        audio = [{"bytes": encoded(clip.samples), "path": f"{clip.name}.flac"} for clip in shard]
        table = pa.table(
            {"id": [clip.name for clip in shard], "audio": audio, "text": [clip.text for clip in shard]},
        )
        pq.write_table(table, folder / f"train-{number:05d}-of-{NUM_SHARDS:05d}.parquet", row_group_size=3)
    return folder


def webdataset(folder: Path, of: list[Clip]) -> Path:
    for number, shard in enumerate(_shards(of)):
        members = []
        for clip in shard:
            told = json.dumps({"duration": clip.seconds, "speaker": "voice"}).encode()
            members += [
                (f"{clip.name}.flac", encoded(clip.samples)),
                (f"{clip.name}.json", told),
                (f"{clip.name}.txt", clip.text.encode()),
            ]
        _write_tar(folder / f"shard-{number:06d}.tar", members)
    return folder


def jsonlines(folder: Path, of: list[Clip]) -> Path:
    """With offsets, as NeMo's manifests of segments have them."""
    records = [
        {"audio_filepath": name, "offset": offset_s, "duration": clip.seconds, "text": clip.text}
        for name, offset_s, clip in _long_files(folder, of, "flac")
    ]
    _write_lines(folder / "manifest.jsonl", records)
    return folder / "manifest.jsonl"


def nemo_tarred(folder: Path, of: list[Clip]) -> Path:
    records = []
    for number, shard in enumerate(_shards(of)):
        _write_tar(folder / f"audio_{number}.tar", [(f"{clip.name}.flac", encoded(clip.samples)) for clip in shard])
        for clip in shard:
            told = {"audio_filepath": f"{clip.name}.flac", "duration": clip.seconds, "text": clip.text}
            records.append(told | {"shard_id": number})
    _write_lines(folder / "tarred_audio_manifest.json", records)
    return folder


def kaldi(folder: Path, of: list[Clip]) -> Path:
    """With segments of a few long files."""
    placed = _long_files(folder, of, "wav")
    sessions = sorted({name for name, _, _ in placed})
    tables = {
        "wav.scp": [f"{name.removesuffix('.wav')} {folder / name}" for name in sessions],
        "segments": [
            f"{clip.name} {name.removesuffix('.wav')} {offset_s:.2f} {offset_s + clip.seconds:.2f}"
            for name, offset_s, clip in placed
        ],
        "text": [f"{clip.name} {clip.text}" for clip in of],
        "utt2spk": [f"{clip.name} voice" for clip in of],
        "spk2utt": ["voice " + " ".join(clip.name for clip in of)],
    }
    for name, lines in tables.items():
        (folder / name).write_text("".join(line + "\n" for line in sorted(lines)))
    return folder


def librispeech(folder: Path, of: list[Clip]) -> Path:
    for number, shard in enumerate(_shards(of)):
        speaker, chapter = 100 + number, 7000 + number
        place = folder / str(speaker) / str(chapter)
        place.mkdir(parents=True)
        lines = []
        for utterance, clip in enumerate(shard):
            name = f"{speaker}-{chapter}-{utterance:04d}"
            (place / f"{name}.flac").write_bytes(encoded(clip.samples))
            lines.append(f"{name} {clip.text}\n")
        (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return folder


def _recording(name: str, source: dict[str, Any], num_samples: int) -> dict[str, Any]:
    return {
        "id": name,
        "sources": [{"channels": [0], **source}],
        "sampling_rate": RATE,
        "num_samples": num_samples,
        "duration": num_samples / RATE,
        "channel_ids": [0],
    }


def _supervision(clip: Clip, recording: str, start_s: float) -> dict[str, Any]:
    return {
        "id": clip.name,
        "recording_id": recording,
        "start": start_s,
        "duration": clip.seconds,
        "channel": 0,
        "text": clip.text,
        "language": "English",
        "speaker": "voice",
    }


def lhotse(folder: Path, of: list[Clip]) -> Path:
    """Recordings of several supervisions each."""
    placed = _long_files(folder, of, "flac")
    lengths: dict[str, int] = {}
    for name, _, clip in placed:
        lengths[name] = lengths.get(name, 0) + len(clip.samples)
    recordings = [
        _recording(name, {"type": "file", "source": str(folder / name)}, length) for name, length in lengths.items()
    ]
    _write_lines(folder / "recordings.jsonl.gz", recordings)
    _write_lines(folder / "supervisions.jsonl.gz", [_supervision(clip, name, start) for name, start, clip in placed])
    return folder


def shar(folder: Path, of: list[Clip]) -> Path:
    for number, shard in enumerate(_shards(of)):
        cuts, members = [], []
        for clip in shard:
            recording = _recording(clip.name, {"type": "shar", "source": ""}, len(clip.samples))
            cuts.append(
                {
                    "id": clip.name,
                    "start": 0,
                    "duration": clip.seconds,
                    "channel": 0,
                    "supervisions": [_supervision(clip, clip.name, 0.0)],
                    "recording": recording,
                    "type": "MonoCut",
                }
            )
            members += [
                (f"{clip.name}.flac", encoded(clip.samples)),
                (f"{clip.name}.json", json.dumps(recording).encode()),
            ]
        _write_lines(folder / f"cuts.{number:06d}.jsonl.gz", cuts)
        _write_tar(folder / f"recording.{number:06d}.tar", members)
    return folder


def delimited(folder: Path, of: list[Clip]) -> Path:
    files(folder, of)
    with open(folder / "corpus.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "text", "speaker"])
        table.writerows([f"{clip.name}.flac", clip.text, "voice"] for clip in of)
    return folder / "corpus.csv"


def common_voice(folder: Path, of: list[Clip]) -> Path:
    """MP3, as its clips are: the one kind whose samples are not those of the others."""
    (folder / "clips").mkdir()
    with open(folder / "validated.tsv", "w", newline="") as file:
        table = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, escapechar="\\")
        table.writerow(["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "locale"])
        for clip in of:
            (folder / "clips" / f"{clip.name}.mp3").write_bytes(encoded(clip.samples, "MP3"))
            table.writerow(["0f", f"{clip.name}.mp3", clip.text, 2, 0, "", "", "en"])
    return folder


def saved_dataset(folder: Path, of: list[Clip]) -> Path:
    """As `datasets.Dataset.save_to_disk` leaves it."""
    import datasets

    table = pa.table(
        {
            "audio": [{"bytes": encoded(clip.samples), "path": f"{clip.name}.flac"} for clip in of],
            "id": [clip.name for clip in of],
            "text": [clip.text for clip in of],
        }
    )
    # Not from_dict: what encodes audio there needs torchcodec.
    features = datasets.Features(
        {"audio": datasets.Audio(decode=False), "id": datasets.Value("string"), "text": datasets.Value("string")}
    )
    datasets.Dataset(table, datasets.DatasetInfo(features=features)).save_to_disk(str(folder), num_shards=NUM_SHARDS)
    return folder


Writer = Callable[[Path, list[Clip]], Path]

KINDS: dict[str, Writer] = {
    "files": files,
    "parquet": parquet,
    "webdataset": webdataset,
    "jsonlines": jsonlines,
    "nemo-tarred": nemo_tarred,
    "kaldi": kaldi,
    "librispeech": librispeech,
    "lhotse": lhotse,
    "shar": shar,
    "csv": delimited,
    "common-voice": common_voice,
    "datasets": saved_dataset,
}
WITHOUT_TEXTS = ("files",)
LOSSY = ("common-voice",)


def write(kind: str, folder: Path, of: list[Clip]) -> Path:
    """A corpus of that kind in a new folder; returns what a run is to be given."""
    folder.mkdir(parents=True)
    return KINDS[kind](folder, of)
