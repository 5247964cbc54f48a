"""What is learnt from: the recordings of any source that have a text, read once and kept as samples in one file.

Any recording is then at hand at once, however its source is packed, and nothing is decoded twice. Knows nothing of
models or of the letters of texts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.read.reader import Reader
from pipeline.records import SAMPLE_RATE, AudioArray, Recording
from pipeline.sources.recognise import open_source
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from pipeline.unit import Unit

Pcm = npt.NDArray[np.int16]

FULL_SCALE = 32767
TABLE, SAMPLES = "recordings.parquet", "samples.i16"
SHORTEST_S, LONGEST_S = 0.2, 20.0  # of what is learnt from; attention over longer ones would take most of the time
_SCHEMA = pa.schema([("text", pa.string()), ("start", pa.int64()), ("num_samples", pa.int64())])


@dataclass(frozen=True)
class Material:
    """A folder with the samples and the texts of all recordings."""

    folder: Path
    source: str  # where it came from, for messages

    @cached_property
    def texts(self) -> list[str]:
        texts: list[str] = self._table["text"].to_pylist()
        return texts

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Samples of each recording."""
        lengths: npt.NDArray[np.int64] = self._table["num_samples"].to_numpy()
        return lengths

    def audio(self, number: int) -> Pcm:
        start = self._starts[number]
        return self._samples[start : start + self.lengths[number]]

    @property
    def seconds(self) -> float:
        return int(self.lengths.sum()) / SAMPLE_RATE

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def left_out(self) -> dict[str, int]:
        """How many recordings of the source are not here, by reason."""
        told: dict[bytes, bytes] = self._table.schema.metadata or {}
        return {reason.decode(): int(num) for reason, num in told.items()}

    @cached_property
    def _table(self) -> pa.Table:
        return pq.read_table(self.folder / TABLE)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        starts: npt.NDArray[np.int64] = self._table["start"].to_numpy()
        return starts

    @cached_property
    def _samples(self) -> Pcm:
        return np.memmap(self.folder / SAMPLES, np.int16, mode="r")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "source": self.source}  # other processes open the files themselves


def gather(source: str, folder: Path, config: ReadConfig, tell: Callable[[str], None]) -> Material:
    """Read everything that a source has, unless that was done already: the table is written last."""
    if not (folder / TABLE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, object]] = []
        left_out: Counter[str] = Counter()
        written = 0
        with open(folder / SAMPLES, "wb") as file:
            for recording in _read(source, folder, config, tell):
                if reason := _unfit(recording):
                    left_out[reason] += 1
                    continue
                assert recording.audio is not None
                pcm = as_pcm(recording.audio)
                file.write(pcm.tobytes())
                rows.append({"text": recording.reference, "start": written, "num_samples": len(pcm)})
                written += len(pcm)
        if not rows:
            told = ", ".join(f"{num:,} {reason}" for reason, num in left_out.items()) or "no recordings"
            raise UsageError(f"{source}: nothing in it to learn from: {told}")
        table = pa.Table.from_pylist(rows, _SCHEMA.with_metadata({key: str(num) for key, num in left_out.items()}))
        pq.write_table(table, folder / f"{TABLE}.part")
        (folder / f"{TABLE}.part").replace(folder / TABLE)
    return Material(folder, source)


def as_pcm(audio: AudioArray) -> Pcm:
    return np.asarray(audio if audio.dtype == np.int16 else np.round(audio.clip(-1, 1) * FULL_SCALE), np.int16)


def _read(source: str, folder: Path, config: ReadConfig, tell: Callable[[str], None]) -> Iterator[Recording]:
    """Every recording of a source, read or failed."""
    with closing(Spool(open_source(source, config, leave_out=str(folder), tell=tell), config, tell)) as spool:
        manifest = Manifest(Folder(str(folder / "manifest")))
        spool.freeze(manifest)
        num = spool.num_recordings
    read, done = Reader(config, lambda unit: manifest.unit(unit.id)), 0
    for info in manifest.units():
        recordings = read(Unit(info.id)).recordings
        yield from recordings
        done += len(recordings)
        tell(f"reading: {done:,} of {num:,} recordings")


def _unfit(recording: Recording) -> str:
    """Why nothing can be learnt from it; empty where something can."""
    if recording.status == "failed":
        return str(recording.error)
    if not (recording.reference or "").strip():
        return "without a text"
    assert recording.duration_s is not None
    if not SHORTEST_S <= recording.duration_s <= LONGEST_S:
        return f"not {SHORTEST_S:g} to {LONGEST_S:g} s long"
    return ""
