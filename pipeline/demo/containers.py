"""Sound into files: WAV, FLAC, MP3, Ogg Vorbis and Opus at any of their rates, and rows into tables, shards and tars.

Knows nothing of speech, of voices, or of what the rows say.
"""

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.records import SAMPLE_RATE, FloatArray

Row = dict[str, Any]
MANIFEST, METADATA, SHARD, TABLE = "manifest.jsonl", "metadata.csv", "shard.tar", "shard.parquet"
BELOW = "audio"  # where a manifest's files are: of a folder that holds both, a run could not tell which is meant


@dataclass(frozen=True)
class Container:
    """What a file is: its name's ending, what libsndfile calls it, and the sample rates that it can have."""

    extension: str
    kind: str
    encoding: str
    rates: tuple[int, ...]
    compression: float | None = None  # of one channel, by libsndfile's scale from 0 to 1


_ANY = (8_000, 16_000, 22_050, 44_100)
WAV = Container("wav", "WAV", "PCM_16", (8_000, 16_000))  # at 44.1 kHz a few would be as large as all the others
FLAC = Container("flac", "FLAC", "PCM_16", _ANY, 1.0)
MP3 = Container("mp3", "MP3", "MPEG_LAYER_III", _ANY, 0.8)
VORBIS = Container("ogg", "OGG", "VORBIS", _ANY, 0.9)
OPUS = Container("opus", "OGG", "OPUS", (8_000, 16_000), 0.93)  # 24 kbit/s; libsndfile resamples nothing for it


def encoded(sound: FloatArray, container: Container, sample_rate: int, gains: Sequence[float]) -> tuple[bytes, float]:
    """The file of a sound at 16 kHz, a channel for each gain, and how many seconds it has."""
    import soundfile
    import soxr

    at_rate: FloatArray = soxr.resample(sound, SAMPLE_RATE, sample_rate, quality="HQ")
    channels = np.outer(at_rate, np.array(gains, np.float32)).clip(-1, 1)
    level = container.compression
    if level is not None and container.encoding == "OPUS":
        level = 1 - (1 - level) / len(gains)  # it would spend as much on every channel
    file = io.BytesIO()
    soundfile.write(file, channels, sample_rate, container.encoding, format=container.kind, compression_level=level)
    return file.getvalue(), len(at_rate) / sample_rate


def write_parquet(folder: Path, rows: Sequence[Row], files: Sequence[bytes]) -> None:
    """Each row with its file in it, as `datasets` embeds audio."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    embedded = [
        {"audio": {"bytes": file, "path": row["path"]}, **_without_path(row)}
        for row, file in zip(rows, files, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(embedded), folder / TABLE)


def write_webdataset(folder: Path, rows: Sequence[Row], files: Sequence[bytes]) -> None:
    """Each file with a JSON object beside it; no member tells when or by whom it was written."""
    with tarfile.open(folder / SHARD, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, file in zip(rows, files, strict=True):
            told = json.dumps(_without_path(row)).encode()
            for name, data in ((row["path"], file), (f"{Path(row['path']).stem}.json", told)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_table(folder: Path, rows: Sequence[Row], files: Sequence[bytes]) -> None:
    """Files and beside them a CSV of the name that `datasets` gives it; an empty cell is no value."""
    for row, file in zip(rows, files, strict=True):
        (folder / row["path"]).write_bytes(file)
    with open(folder / METADATA, "w", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["file_name", *_without_path(rows[0])])
        writer.writerows([row["path"], *_without_path(row).values()] for row in rows)


def write_manifest(folder: Path, rows: Sequence[Row], files: Sequence[bytes]) -> None:
    """A line of JSON for each file, the files in a folder below."""
    (folder / BELOW).mkdir()
    lines = []
    for row, file in zip(rows, files, strict=True):
        path = f"{BELOW}/{row['path']}"
        (folder / path).write_bytes(file)
        lines.append(json.dumps({"audio_filepath": path, **_without_path(row)}) + "\n")
    (folder / MANIFEST).write_text("".join(lines))


def _without_path(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "path"}
