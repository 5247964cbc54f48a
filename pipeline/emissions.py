"""Emissions that are kept: log-probabilities in half precision, a Parquet file per unit beside its part.

Knows nothing of models or decoders. What is kept is what was decoded: where emissions are kept they are rounded
before they are decoded, so that decoding them again under the same settings gives the same rows.
"""

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.commit import Stored
from pipeline.errors import UsageError
from pipeline.records import FloatArray, Recording, from_table
from pipeline.store import Folder
from pipeline.unit import Unit

if TYPE_CHECKING:
    from pipeline.run import Run

FOLDER = "emissions"
AFRESH = "decode it into another directory, or afresh with --overwrite"
LOWEST = np.finfo(np.float16).min
FOUND_BY_READING = ("cut", "duration_s", "truncated", "snr_estimate_db")

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("frame_s", pa.float64(), nullable=False),
        pa.field("num_labels", pa.int32(), nullable=False),
        pa.field("emissions", pa.large_list(pa.float16()), nullable=False),  # (T * V), frame after frame
    ]
)


class Kept(NamedTuple):
    """The emissions of one recording."""

    emissions: FloatArray  # (T, V), single precision that half precision can hold
    frame_s: float


def rounded(emissions: FloatArray) -> FloatArray:
    """What will be left of the emissions once they have been kept. What is not a number stays that."""
    return np.maximum(emissions, LOWEST).astype(np.float16).astype(np.float32)


class Keeping:
    """A decode stage after which recordings still have their emissions, rounded as it saw them."""

    def __init__(self, decode: Callable[[Unit], Unit]) -> None:
        self._decode = decode

    def __call__(self, unit: Unit) -> Unit:
        kept = []
        for recording in unit.pending():
            assert recording.emissions is not None and recording.frame_s is not None
            recording.emissions = rounded(recording.emissions)
            kept.append((recording, Kept(recording.emissions, recording.frame_s)))
        unit = self._decode(unit)
        for recording, (emissions, frame_s) in kept:
            if recording.status == "pending":
                recording.emissions, recording.frame_s = emissions, frame_s
        return unit


class KeptUnits:
    """The load stage of `nightshift decode`: units of a run with the emissions that another has kept of them."""

    def __init__(self, load: Callable[[Unit], Unit], source: "Run") -> None:
        self._load, self._source = load, source

    def __call__(self, unit: Unit) -> Unit:
        unit = self._load(unit)
        if self._source.info()["id"] != self._source.id:
            raise UsageError(f"{self._source.folder.url} became another run while it was decoded; {AFRESH}")
        commit = self._source.commit_of(unit.id)
        before = {row.id: row for row in from_table(self._source.read_part(commit))}
        kept = read(self._source.folder, commit.emissions) if commit.emissions else {}
        for number, recording in enumerate(unit.recordings):
            if recording.status == "pending":
                unit.recordings[number] = self._taken_over(recording, before.get(recording.id), kept)
        return unit

    def _taken_over(self, recording: Recording, before: Recording | None, kept: dict[str, Kept]) -> Recording:
        """The recording as encode would have left it; one that failed then has failed now."""
        if before is not None and before.status == "failed":
            return before
        if before is None or recording.id not in kept:
            raise UsageError(f"{self._source.folder.url} has kept no emissions of {recording.id}; {AFRESH}")
        emissions, frame_s = kept[recording.id]
        told = {name: getattr(before, name) for name in FOUND_BY_READING}
        return replace(recording, emissions=emissions, frame_s=frame_s, **told)


def to_bytes(recordings: Iterable[Recording], earlier: dict[str, Kept]) -> bytes:
    """The file of a unit: of every recording that is ok the emissions, from now or from an earlier attempt."""
    ids, frames_s, widths, arrays = [], [], [], []
    for recording in recordings:
        if recording.status != "ok":
            continue
        if recording.emissions is not None and recording.frame_s is not None:
            kept = Kept(recording.emissions, recording.frame_s)
        else:
            kept = earlier[recording.id]
        ids.append(recording.id)
        frames_s.append(kept.frame_s)
        widths.append(kept.emissions.shape[1])
        arrays.append(kept.emissions.astype(np.float16).ravel())
    ends = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
    values = pa.array(np.concatenate(arrays) if arrays else np.empty(0, np.float16))
    cells = pa.LargeListArray.from_arrays(pa.array(ends), values)
    table = pa.table([pa.array(ids, pa.string()), frames_s, pa.array(widths, pa.int32()), cells], schema=SCHEMA)
    sink = io.BytesIO()
    # Bytes split into streams: 8.0 to 8.3 MB per hour of 50 frames a second and 32 labels, without it 9.1 to 9.5 MB.
    pq.write_table(
        table, sink, compression="zstd", use_dictionary=False, use_byte_stream_split=["emissions.list.element"]
    )
    return sink.getvalue()


def read(run: Folder, stored: Stored) -> dict[str, Kept]:
    """The kept emissions of a unit by id; that they are those that were committed is checked."""
    data = run.sub(FOLDER).read(stored.name)
    if Stored.of(stored.name, data) != stored:
        raise UsageError(
            f"{run.url}/{FOLDER}/{stored.name} has been damaged or changed since it was committed: "
            f"delete that file and finish the run, which does its unit again"
        )
    table = pq.read_table(io.BytesIO(data)).combine_chunks()
    kept = {}
    for row in range(len(table)):
        flat = table["emissions"][row].values.to_numpy(zero_copy_only=False).astype(np.float32)
        width = table["num_labels"][row].as_py()
        kept[table["id"][row].as_py()] = Kept(flat.reshape(-1, width), table["frame_s"][row].as_py())
    return kept
