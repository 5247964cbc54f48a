"""Arrow's strings as compiled code takes them, and back.

Knows nothing of what the strings say.
"""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from pipeline.evaluation.tokens import Texts

Strings: TypeAlias = "pa.Array | pa.ChunkedArray"
Places = npt.NDArray[np.intp]


def large(strings: Strings) -> pa.Array:
    """One array with 64-bit offsets, whatever chunks, slices, dictionaries or small offsets there were."""
    wide = strings.cast(pa.large_string())
    return wide.combine_chunks() if isinstance(wide, pa.ChunkedArray) else wide


def is_null(strings: pa.Array) -> npt.NDArray[np.bool_]:
    missing: npt.NDArray[np.bool_] = strings.is_null().to_numpy(zero_copy_only=False)
    return missing


def texts_of(strings: pa.Array, rows: Places | None = None) -> "Texts":
    """The bytes of large strings, not copied; of a null there are none. `rows` takes some of them, each as often as it
    is named.
    """
    from pipeline.evaluation.tokens import Texts

    strings.validate(full=True)  # compiled code does not look for the end of the buffer within a character
    _, places, data = strings.buffers()
    offsets = np.frombuffer(places, np.int64, len(strings) + 1, 8 * strings.offset) if len(strings) else np.zeros(1)
    starts, ends = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    ends = np.where(is_null(strings), starts, ends)
    if rows is not None:
        starts, ends = starts[rows], ends[rows]
    texts = Texts(np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8), starts, ends)
    for array in texts:
        array.setflags(write=False)  # numba compiles the same once more for arrays that can be written
    return texts


def strings_of(offsets: npt.NDArray[np.int32], data: npt.NDArray[np.uint8], missing: npt.NDArray[np.bool_]) -> pa.Array:
    """The reverse: texts one after the other, as strings."""
    bitmap = pa.array(~missing).buffers()[1]
    return pa.StringArray.from_buffers(len(missing), pa.py_buffer(offsets), pa.py_buffer(data), bitmap)
