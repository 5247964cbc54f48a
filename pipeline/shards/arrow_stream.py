"""Arrow streams, read in part: where each record batch lies, and the buffers of the columns that are wanted.

pyarrow itself reads a stream whole, though most of it is audio. Knows nothing of what the columns mean.
"""

import mmap
import struct
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.shards.shardfile import ShardFile

HEAD_BYTES = 4096  # at once: the description of a batch of a few columns fits
MAX_HEAD_BYTES = 2**26
GAP_BYTES = 2**16  # between buffers, to be read with them: less than what another request costs
_CONTINUED = 0xFFFFFFFF


class _Head:
    """A message's description, as a file for pyarrow, in which an empty body of the right size follows."""

    closed = False

    def __init__(self, data: bytes, body_at: int, most: int) -> None:
        self._data, self.body_at, self._most, self._at = data, body_at, most, 0
        self.body: mmap.mmap | None = None

    def read(self, size: int) -> bytes | mmap.mmap:
        if self._at < len(self._data):
            self._at += size
            return self._data[self._at - size : self._at]
        if size > self._most:
            raise pa.ArrowInvalid(f"a batch of {size:,} bytes, of which {self._most:,} are there: it is cut off")
        if size == 0:
            return b""
        # Takes memory where it is filled in alone.
        self.body = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return self.body

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Batch:
    """A record batch whose buffers are empty until they are fetched."""

    def __init__(self, file: ShardFile, head: _Head, message: pa.Message, schema: pa.Schema) -> None:
        self._file, self._head, self._body = file, head, message.body
        self.rows: pa.RecordBatch = pa.ipc.read_record_batch(message, schema)

    def fetch(self, columns: list[str], but_for: pa.Array | None) -> None:
        """Fill in these columns, all but the values of one array in them; raises where they are not valid."""
        wanted = [buffer for name in columns for buffer in self.rows.column(name).buffers() if buffer and buffer.size]
        left_out = but_for.buffers()[-1] if but_for is not None else None
        places = {(self._at(buffer), buffer.size) for buffer in wanted}
        if left_out is not None and left_out.size:
            places.discard((self._at(left_out), left_out.size))
        start = end = 0
        for at, size in [*sorted(places), (1 << 62, 0)]:
            if at > end + GAP_BYTES:
                self._fill(start, end)
                start = at
            end = max(end, at + size)
        for name in columns:
            self.rows.column(name).validate(full=True)

    def ranges(self, values: pa.Array) -> Iterator[tuple[int, int]]:
        """Where in the file each value of a fetched array of bytes begins and ends."""
        if pa.types.is_fixed_size_binary(values.type):
            offsets = np.arange(len(values) + 1, dtype=np.int64) * values.type.byte_width
        elif pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
            kind = np.int32 if pa.types.is_binary(values.type) else np.int64
            stored = values.buffers()[1]
            offsets = np.frombuffer(stored, kind, len(values) + 1) if len(values) else np.zeros(1, kind)
        else:
            raise pa.ArrowNotImplementedError(f"audio in a column of {values.type}")
        content = values.buffers()[-1]
        first = self._head.body_at + (self._at(content) if content is not None and content.size else 0)
        yield from zip((first + offsets[:-1]).tolist(), (first + offsets[1:]).tolist(), strict=True)

    def _at(self, buffer: pa.Buffer) -> int:
        """Where in the body it lies; one that does not was compressed, and is elsewhere."""
        at = int(buffer.address) - int(self._body.address)
        if not 0 <= at <= at + buffer.size <= self._body.size:
            raise pa.ArrowNotImplementedError("its batches are compressed; `datasets` does not write such shards")
        return at

    def _fill(self, start: int, end: int) -> None:
        if end > start:
            data = self._file.read_at(self._head.body_at + start, end - start)
            if len(data) != end - start:
                raise pa.ArrowInvalid(f"it ends after {self._file.size:,} bytes, within a batch: it is cut off")
            assert self._head.body is not None
            self._head.body[start:end] = data


def schema_of(file: ShardFile) -> pa.Schema:
    message, _ = _message(file, 0)
    if message is None or message.type != "schema":
        raise pa.ArrowInvalid("not an Arrow stream")
    return pa.ipc.read_schema(message)


def batches(file: ShardFile, schema: pa.Schema) -> Iterator[Batch]:
    message, head = _message(file, 0)
    while True:
        assert message is not None
        message, head = _message(file, head.body_at + (message.body.size if message.body is not None else 0))
        if message is None:
            return
        if message.type != "record batch":
            raise pa.ArrowNotImplementedError(f"a {message.type} in it, which `datasets` does not write")
        yield Batch(file, head, message, schema)


def _message(file: ShardFile, start: int) -> tuple[pa.Message | None, _Head]:
    """The message that begins there, with its body empty; None at the end mark."""
    data = file.read_at(start, HEAD_BYTES)
    if len(data) < 8:
        raise pa.ArrowInvalid(f"it ends after {file.size:,} bytes without an end mark: it is cut off")
    continued, length = struct.unpack_from("<Ii", data)
    if continued != _CONTINUED or not 0 <= length <= MAX_HEAD_BYTES:
        raise pa.ArrowInvalid("not an Arrow stream")
    end = 8 + length
    if len(data) < end:
        data += file.read_at(start + len(data), end - len(data))
    if len(data) < end:
        raise pa.ArrowInvalid(f"it ends after {file.size:,} bytes, within a batch: it is cut off")
    head = _Head(data[:end], start + end, file.size - start - end)
    if length == 0:
        return None, head
    return pa.ipc.read_message(pa.PythonFile(head, mode="r")), head
