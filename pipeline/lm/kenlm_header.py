"""The first bytes of a KenLM binary: recognised, checked, written.

What follows them is laid out by `probing` or `trie`; of n-grams this file knows only how many there are.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError

MAX_ORDER = 6  # what KenLM is compiled for by default, and what a decoder's states have room for
PROBING, REST_PROBING, TRIE, QUANT_TRIE, ARRAY_TRIE, QUANT_ARRAY_TRIE = range(6)
ANY_VERSION = b"mmap lm http://kheafield.com/code"
INCOMPLETE = ANY_VERSION + b" incomplete"
VERSION = 5
MAGIC = ANY_VERSION + b" format version %d\n" % VERSION
# Numbers whose bytes tell another machine's: three floats, two word ids and their padding, one 64-bit integer.
NUMBERS = struct.pack("<3f3IQ", 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
CHECKED = MAGIC.ljust(56, b"\0") + NUMBERS
FIXED = struct.Struct("<B3xfIB3xI")  # order, multiplier, model type, whether words are kept, version of the tables
TABLE_VERSIONS = {PROBING: 0, TRIE: 1, QUANT_TRIE: 1, ARRAY_TRIE: 1, QUANT_ARRAY_TRIE: 1}

WORDS_MISSING = "was built without its words: run build_binary again without -v, or give the ARPA file"


@dataclass(frozen=True)
class Header:
    model_type: int
    counts: tuple[int, ...]  # n-grams of each length; whether <unk> is in the first differs between the types
    multiplier: np.float32  # buckets per entry of a hash table
    has_words: bool  # the words themselves stand at the end of the file

    @property
    def order(self) -> int:
        return len(self.counts)

    @property
    def is_quantised(self) -> bool:
        return self.model_type in (QUANT_TRIE, QUANT_ARRAY_TRIE)

    @property
    def is_array_compressed(self) -> bool:
        return self.model_type in (ARRAY_TRIE, QUANT_ARRAY_TRIE)

    @property
    def size(self) -> int:
        """In bytes: where the vocabulary begins."""
        return header_size(self.order)


def header_size(order: int) -> int:
    return -(-(len(CHECKED) + FIXED.size + 8 * order) // 8) * 8


def read_header(name: str, data: npt.NDArray[np.uint8]) -> Header:
    """The header of a whole mapped file that begins like a KenLM binary."""
    start = data[: header_size(255)].tobytes()
    if start.startswith(INCOMPLETE):
        raise UsageError(f"language model {name}: build_binary did not finish writing it; build it again")
    if not start.startswith(MAGIC[: len(start)]):
        version = start[len(ANY_VERSION) :].split(b"\n")[0].decode("ascii", "replace").strip()
        raise UsageError(
            f"language model {name}: KenLM binary of {version[:40] or 'no version'}, this program reads version "
            f"{VERSION}; build it again from the ARPA with a current build_binary, or give the ARPA"
        )
    if len(start) < len(CHECKED) + FIXED.size:
        raise UsageError(f"language model {name}: ends within its header, {len(data)} bytes; copy it again")
    if not start.startswith(CHECKED):
        raise UsageError(
            f"language model {name}: built for another kind of machine or with other sizes of numbers; "
            "build it again from the ARPA, or give the ARPA"
        )
    order, multiplier, model_type, has_words, tables = FIXED.unpack_from(start, len(CHECKED))
    if model_type == REST_PROBING:
        raise UsageError(
            f"language model {name}: probing tables with rest costs are not read; build it with `build_binary probing`"
        )
    if model_type not in TABLE_VERSIONS or TABLE_VERSIONS[model_type] != tables:
        raise UsageError(
            f"language model {name}: model type {model_type} version {tables} is unknown; "
            "build it again from the ARPA, or give the ARPA"
        )
    if not 2 <= order <= MAX_ORDER:
        raise UsageError(f"language model {name}: order {order}; this program reads orders 2 to {MAX_ORDER}")
    if len(start) < header_size(order):
        raise UsageError(f"language model {name}: ends within its header, {len(data)} bytes; copy it again")
    if not 1.0 <= multiplier < 1e6:
        raise UsageError(f"language model {name}: its header is damaged (multiplier {multiplier}); copy it again")
    counts = struct.unpack_from(f"<{order}Q", start, len(CHECKED) + FIXED.size)
    if max(counts) > 8 * len(data):  # no format spends less than a bit on an n-gram
        raise truncated(name, len(data))
    return Header(model_type, counts, np.float32(multiplier), bool(has_words))


def write_header(order_counts: Sequence[int], multiplier: float) -> bytes:
    """Of a probing model that keeps its words."""
    order = len(order_counts)
    fixed = FIXED.pack(order, multiplier, PROBING, 1, TABLE_VERSIONS[PROBING])
    return (CHECKED + fixed + struct.pack(f"<{order}Q", *order_counts)).ljust(header_size(order), b"\0")


def truncated(name: str, size: int, expected: int | None = None) -> UsageError:
    should = f" where its header asks for at least {expected:,}" if expected else ", fewer than its header asks for"
    return UsageError(f"language model {name}: it has {size:,} bytes{should}; it was cut short, copy it again")
