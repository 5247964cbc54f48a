"""Tar headers: what one says of the member that follows it, in all the ways that writers have found.

Knows nothing of where the bytes come from, nor of what kind of member is of use.
"""

from typing import NamedTuple, Protocol

from pipeline.errors import RecordingError

BLOCK = 512
MAX_EXTENSION = 2**20  # bytes of a long name or a pax header
MAX_EXTENSIONS = 16  # headers that only describe the next one
TRUNCATED, DAMAGED, NOT_TAR = "shard truncated", "damaged tar shard", "not a tar shard"

_ZEROS = bytes(BLOCK)
_GNU = b"ustar "  # its headers have times where the others' have the front of the name


class Bytes(Protocol):
    """A shard, read forwards."""

    def take(self, start: int, length: int) -> bytes:
        """Fewer only at the end."""


class Header(NamedTuple):
    name: bytes
    kind: bytes
    size: int
    next: int  # where what follows the header begins
    sparse: bool


def described(source: Bytes, place: int, for_all: dict[str, bytes]) -> Header | None:
    """The header at a place with what those before it say of it; None where the end mark is."""
    said = dict[str, bytes]()
    for _ in range(MAX_EXTENSIONS):
        block = source.take(place, BLOCK)
        if block == _ZEROS and not said:
            return None
        header = _parsed(block, place)
        if header.kind in b"xXgLK" and header.size > MAX_EXTENSION:
            raise RecordingError(DAMAGED, f"a header of {header.size} bytes at byte {place}")
        if header.kind in b"xXg":
            told = _pax(source.take(header.next, header.size), header.size, place)
            (for_all if header.kind == b"g" else said).update(told)
        elif header.kind in b"LK":
            told_name = _whole(source.take(header.next, header.size), header.size)
            said.update({"path": told_name.partition(b"\0")[0]} if header.kind == b"L" else {})
        else:
            return _with(header, {**for_all, **said}, source, block)
        place = header.next + -(-header.size // BLOCK) * BLOCK
    raise RecordingError(DAMAGED, f"headers that describe only headers before byte {place}")


def _with(header: Header, said: dict[str, bytes], source: Bytes, block: bytes) -> Header:
    name = said.get("GNU.sparse.name") or said.get("path") or header.name
    try:
        size = _digits(said["size"], 10) if said.get("size") else header.size
    except ValueError as error:
        raise RecordingError(DAMAGED, f"a pax header before byte {header.next} has no valid size") from error
    sparse = header.kind == b"S" or any(key.startswith("GNU.sparse.") for key in said)
    start = header.next
    if header.kind == b"S":  # the list of its holes may go on after the header
        more = block[482]
        while more:
            more = _whole(source.take(start, BLOCK), BLOCK)[504]
            start += BLOCK
    return Header(name, header.kind, size, start, sparse)


def _parsed(block: bytes, place: int) -> Header:
    if len(_whole(block, BLOCK, place)) and not _adds_up(block):
        if place:
            raise RecordingError(DAMAGED, f"no header at byte {place}, where one is due")
        zipped = "it is gzip data: name it .tar.gz" if block[:2] == b"\x1f\x8b" else None
        raise RecordingError(NOT_TAR, zipped)
    name, front = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    if front and not block.startswith(_GNU, 257):
        name = front + b"/" + name
    try:
        return Header(name, block[156:157], _number(block[124:136]), place + BLOCK, False)
    except ValueError as error:
        raise RecordingError(DAMAGED, f"the header at byte {place} has no size") from error


def _adds_up(block: bytes) -> bool:
    """Whether its check sum is right, of bytes or (old writers) of signed ones."""
    try:
        stored = _number(block[148:156])
    except ValueError:
        return False
    rest = block[:148] + block[156:]
    total = sum(rest) + 8 * 32
    return stored == total or stored == total - 256 * sum(byte > 127 for byte in rest)


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # binary, of which the second bit is the sign
        if field[0] & 0x40:
            raise ValueError("below zero")
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return _digits(field.partition(b"\0")[0].strip() or b"0", 8)


def _digits(text: bytes, base: int) -> int:
    if not text.isdigit():  # `int` takes signs, spaces and underscores
        raise ValueError("not a number")
    return int(text, base)


def _pax(data: bytes, size: int, place: int) -> dict[str, bytes]:
    """Its records: `LENGTH KEY=VALUE\\n`, the length that of the whole record."""
    data = _whole(data, size)
    told, at = dict[str, bytes](), 0
    while at < size and data[at]:
        digits = data[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not (equals and record.endswith(b"\n")) or at + length > size:
            raise RecordingError(DAMAGED, f"a pax header that cannot be read at byte {place}")
        told[key.decode("utf-8", "replace")] = value[:-1]
        at += length
    return told


def _whole(data: bytes, size: int, place: int | None = None) -> bytes:
    if len(data) < size:
        if place == 0 and not data:
            raise RecordingError("empty file")
        missing = "no end mark: members may be missing" if place and not data else "it ends within a header"
        raise RecordingError(TRUNCATED, missing)
    return data
