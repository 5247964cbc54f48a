"""A language model as an ARPA file, plain or gzip by its name; knows nothing of where the n-grams come from."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.lm.ngrams import Order, Piece

NUMBER_BYTES = 64  # more than any 32-bit float takes without an exponent, sign and tab included
Bytes = npt.NDArray[np.uint8]


def write_arpa(path: Path, words: Sequence[str], orders: Sequence[Order]) -> None:
    """Numbers have as many digits as it takes to read the same 32-bit float again."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([len(word) for word in encoded], dtype=np.int64)
    text = np.frombuffer(b"".join(encoded), np.uint8)
    with path.open("wb") as raw, _packed(raw, path.name) as file:
        file.write(b"\\data\\\n" + b"".join(b"ngram %d=%d\n" % (order.order, order.num) for order in orders) + b"\n")
        for order in orders:
            file.write(b"\\%d-grams:\n" % order.order)
            for piece in order.pieces():
                file.write(_lines(piece, text, ends, has_backoff=order is not orders[-1]))
            file.write(b"\n")
        file.write(b"\\end\\\n")


def _packed(raw: IO[bytes], name: str) -> IO[bytes]:
    # Without a time in it, so that one model is one file, and at the speed that suits gigabytes of digits.
    return gzip.GzipFile("", "wb", 4, raw, mtime=0) if name.endswith(".gz") else raw  # type: ignore[return-value]


def _lines(piece: Piece, text: Bytes, ends: npt.NDArray[np.int64], has_backoff: bool) -> memoryview:
    lengths = np.diff(ends, prepend=0)
    size = int(lengths[piece.words].sum()) + len(piece.words) * (piece.words.shape[1] + 1 + 2 * NUMBER_BYTES)
    out = np.empty(size, np.uint8)
    num = _write_lines(piece.words, piece.log10, piece.backoff, has_backoff, text, ends, out)
    return out.data[:num]


@entry
def _write_lines(
    words: npt.NDArray[np.uint32],
    log10: npt.NDArray[np.float32],
    backoff: npt.NDArray[np.float32],
    has_backoff: bool,
    text: Bytes,
    ends: npt.NDArray[np.int64],
    out: Bytes,
) -> int:
    place = 0
    for i in range(len(words)):
        place = _write_number(log10[i], out, place)
        separator = 9
        for c in range(words.shape[1]):
            out[place] = separator
            place += 1
            separator = 32
            word = words[i, c]
            for at in range(ends[word - 1] if word else 0, ends[word]):
                out[place] = text[at]
                place += 1
        if has_backoff:
            out[place] = 9
            place = _write_number(backoff[i], out, place + 1)
        out[place] = 10
        place += 1
    return place


@entry
def _write_number(number: np.float32, out: Bytes, place: int) -> int:
    """The fewest digits, from seven up, that read back as this number; nine always do. Returns where it ends."""
    if number == 0:
        out[place] = 48
        return place + 1
    size = np.float64(abs(number))
    if number < 0:
        out[place] = 45
        place += 1
    decimals = 0  # how many give seven digits
    scaled = size
    while scaled < 1e6:
        scaled *= 10.0
        decimals += 1
    scale = 10.0**decimals
    for _ in range(2):
        if np.float32(np.rint(size * scale) / scale) == abs(number):
            break
        scale *= 10.0
        decimals += 1
    digits = int(np.rint(size * scale))
    while decimals and digits % 10 == 0:
        digits //= 10
        decimals -= 1
    num_digits = max(decimals + 1, _num_digits(digits))
    end = place + num_digits + (1 if decimals else 0)
    at = end - 1
    for digit in range(num_digits):
        if decimals and digit == decimals:
            out[at] = 46
            at -= 1
        out[at] = 48 + digits % 10
        digits //= 10
        at -= 1
    return end


@entry
def _num_digits(number: int) -> int:
    """Decimal digits."""
    digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits
