"""A word n-gram language model, opened: mapped into memory, so that the processes of a node share one copy of it.

Reads every KenLM binary, and ARPA through a binary in the node's cache. Knows nothing of acoustic scores or beams.
"""

import functools
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline import store
from pipeline.compiled import entry
from pipeline.errors import UsageError
from pipeline.lm import probing, trie
from pipeline.lm.cache import binary_of, local_copy
from pipeline.lm.kenlm_header import PROBING, WORDS_MISSING, Header, read_header, truncated
from pipeline.lm.lookup import Tables, advance, begin, states
from pipeline.lm.vocabulary import UNKNOWN, find_hashed, find_sorted, hash_words

__all__ = ["LanguageModel", "lm_hash"]


class LanguageModel:
    """Opened anew by its location where it is pickled, so that no table travels between processes."""

    def __init__(self, location: str, path: Path) -> None:
        self.location = location  # as given
        self.path = path  # the file that is mapped: a copy in the node's cache where the location is remote or an ARPA
        data = _mapped(location, path)
        self._header = read_header(location, data)
        self.order = self._header.order
        self._layout, vocabulary_room = _layout(location, self._header, data)
        if len(data) < self._layout.size:
            raise truncated(location, len(data), self._layout.size)
        self._data = data  # keeps the file mapped, as `_levels` keeps what `tables` point to
        at = self._layout.vocabulary
        version, self.num_words = 0, 0
        if self._header.model_type == PROBING:
            version, self.num_words = (int(number) for number in data[at - 8 : at].view(np.uint32))
        else:
            self.num_words = int(data[at - 8 : at].view(np.uint64)[0]) + 1
        if version != 0 or not 0 < self.num_words <= vocabulary_room:
            raise self._damaged("vocabulary")
        start_word, self.end_word = (int(number) for number in self.ids(["<s>", "</s>"]))
        self._levels = self._layout.at(data.ctypes.data)
        unigrams = data.ctypes.data + self._layout.unigrams
        is_trie = int(self._header.model_type != PROBING)
        self.tables = Tables(is_trie, self.order, start_word, unigrams, self._levels.ctypes.data)

    @classmethod
    def open(cls, location: str) -> "LanguageModel":
        """A path or fsspec URL of a KenLM binary or an ARPA file, plain or gzipped, told by its content."""
        return cls(location, binary_of(location, local_copy(location)))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return LanguageModel.open, (store.absolute(os.path.expanduser(self.location)),)

    def words(self) -> list[str]:
        """Every word at its id; 0 is <unk>."""
        if not self._header.has_words:
            raise UsageError(f"language model {self.location} {WORDS_MISSING}")
        encoded = self._data[self._layout.size :].tobytes().split(b"\0")
        if len(encoded) != self.num_words + 1 or encoded[0] != UNKNOWN.encode() or encoded[-1]:
            raise UsageError(
                f"language model {self.location}: {len(encoded) - 1:,} words at its end where there should be "
                f"{self.num_words:,}; it was cut short or damaged, copy it again"
            )
        return [word.decode("utf-8", "surrogateescape") for word in encoded[:-1]]

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """0 for words that the model does not know."""
        hashes, layout = hash_words(words), self._layout
        if isinstance(layout, probing.Layout):
            table = self._data[layout.vocabulary : layout.unigrams].view(np.uint32)
            found = np.asarray(find_hashed(table, 0, layout.vocabulary_buckets, hashes))
        else:
            known = self._data[layout.vocabulary :][: 8 * (self.num_words - 1)].view(np.uint64)
            found = find_sorted(known, hashes)
        if len(found) and found.max() >= self.num_words:
            raise self._damaged("vocabulary")
        return found

    def _damaged(self, part: str) -> UsageError:
        return UsageError(f"language model {self.location}: its {part} is damaged; copy or build it again")

    def __contains__(self, word: str) -> bool:
        return bool(self.ids([word])[0])

    def score(self, sentence: str, bos: bool = True, eos: bool = True) -> float:
        """log10 of a sentence's probability, its words separated by white space."""
        words = sentence.encode("utf-8", "surrogateescape").split()  # as KenLM: at white space of ASCII only
        ids = self.ids([word.decode("utf-8", "surrogateescape") for word in words])
        return float(_score(self.tables, np.append(ids, self.end_word) if eos else ids, bos, *states(2)))


@entry
def _score(
    tables: Tables,
    ids: npt.NDArray[np.int64],
    boundary: bool,
    words: npt.NDArray[np.uint32],
    backoffs: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.int64],
) -> np.float32:
    total = np.float32(0)
    begin(tables, words, backoffs, lengths, 0, boundary)
    for number in range(len(ids)):
        total += advance(tables, words, backoffs, lengths, number % 2, ids[number], 1 - number % 2)
    return total


def lm_hash(location: str) -> str:
    """A hash of the content, for a run's fingerprint."""
    path = local_copy(location)
    state = path.stat()
    return _file_hash(path, state.st_size, state.st_mtime_ns)


@functools.cache
def _file_hash(path: Path, size: int, mtime_ns: int) -> str:
    """Once per process for each state of a file: models may be gigabytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UsageError(f"language model {path}: {error.strerror}") from error


def _mapped(location: str, path: Path) -> npt.NDArray[np.uint8]:
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # the latter: nothing to map
        raise UsageError(f"language model {location}: {getattr(error, 'strerror', None) or 'empty file'}") from error
    mapped.madvise(mmap.MADV_WILLNEED)  # read ahead in order: faults at random places take a disk minutes
    return np.frombuffer(mapped, np.uint8)


def _layout(location: str, header: Header, data: npt.NDArray[np.uint8]) -> tuple[probing.Layout | trie.Layout, int]:
    """Where everything is, and how many words there can be."""
    if header.model_type == PROBING:
        return probing.layout(header.size, header.counts, header.multiplier), header.counts[0] + 1
    try:
        return trie.layout(header, data), header.counts[0]
    except (IndexError, ValueError) as error:  # the settings of quantisation or pointers lie beyond the end
        raise truncated(location, len(data)) from error
    except trie.Damaged as error:
        raise UsageError(f"language model {location}: {error}; build it again, or give the ARPA") from error
