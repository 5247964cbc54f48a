"""The CTC collapse of a whole batch at once: ids of frames to texts, with the frames of characters and words.

Repeats are joined before anything is dropped: the other order loses the double letters of HELLO. Knows no tokenizer:
what each id stands for is told.
"""

import operator
from array import array
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.text.batch import ArgumentError, as_array, is_tensor

IGNORED = -100  # what labels are padded with, so that a loss passes over them
UTF32 = ("utf-32-le", "surrogatepass")  # a vocabulary may have half a surrogate pair as a label

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spelling:
    """What each id is in a text: ids of the same text are one symbol, as CTC sees it."""

    symbols: Ints  # (V + 2,) by id; then that of ids which have no label, and that of padding
    pieces: tuple[str, ...]  # (S,) what each symbol is in a text
    kept: npt.NDArray[np.bool_]  # (S,) the others are in no text
    unknown: bool  # whether ids without a label are a symbol; else they are an error

    @classmethod
    def of(
        cls, tokens: Sequence[str | None], unknown: str | None, dropped: Set[str | None], written: Mapping[str, str]
    ) -> "Spelling":
        """By tokens of ids, None or missing where an id has none; `written`: a token as another text."""
        number: dict[str | None, int] = {}
        every = [unknown if token is None else token for token in tokens] + [unknown]
        symbols = [number.setdefault(token, len(number)) for token in every]
        pieces = tuple("" if token is None else written.get(token, token) for token in number)
        kept = [token is not None and token not in dropped for token in number]
        return cls(
            np.array([*symbols, len(number)]),
            (*pieces, ""),
            np.array([*kept, False]),
            unknown is not None,
        )

    def symbols_of(self, ids: Ints) -> Ints:
        """Of ids of frames, in their shape."""
        num_ids = len(self.symbols) - 2
        if ids.size and (ids.min() < 0 or ids.max() >= num_ids):
            ids = ids.astype(np.int64)  # narrower ones may have no room for what stands for padding
            strange = ((ids < 0) | (ids >= num_ids)) & (ids != IGNORED)
            if strange.any() and not self.unknown:
                raise ArgumentError(
                    f"no label has the id {ids[strange][0]}, and there is no unknown token to stand for it"
                )
            ids = np.where(strange, num_ids, np.where(ids == IGNORED, num_ids + 1, ids))
        return self.symbols[ids]

    @cached_property
    def letters(self) -> tuple[Ints, npt.NDArray[np.uint32]]:
        """Where each piece begins among the code points of all, which are the second, and where the last one ends."""
        points = np.frombuffer("".join(self.pieces).encode(*UTF32), np.uint32)
        return np.cumsum([0, *map(len, self.pieces)]), points

    @cached_property
    def spaced_letters(self) -> tuple[Ints, npt.NDArray[np.uint32]]:
        """Likewise, with a space after each piece."""
        points = np.frombuffer("".join(f"{piece} " for piece in self.pieces).encode(*UTF32), np.uint32)
        return np.cumsum([0, *(len(piece) + 1 for piece in self.pieces)]), points


@dataclass(frozen=True)
class Collapsed:
    """A batch of B texts as N symbols in one row, and the frames of each."""

    spelling: Spelling
    symbols: Ints  # (N,) kept ones
    starts: Ints  # (N,) first frame, counted from the start of the sequence
    ends: Ints  # (N,) the frame after the last
    bounds: Ints  # (B + 1,) where each text begins among the symbols, and where the last ends

    def texts(self, spaced: bool = False) -> list[str]:
        """Without the space around them; `spaced`: with a space between any two pieces."""
        whole, ends = self._joined(self.spelling.spaced_letters if spaced else self.spelling.letters)
        cuts = ends[self.bounds].tolist()
        return [whole[start:end].strip() for start, end in pairwise(cuts)]

    def char_offsets(self) -> list[list[dict[str, Any]]]:
        pieces = self.spelling.pieces
        chars = [
            {"char": pieces[symbol], "start_offset": start, "end_offset": end}
            for symbol, start, end in zip(*map(np.ndarray.tolist, (self.symbols, self.starts, self.ends)), strict=True)
        ]
        return _cut(chars, self.bounds)

    def word_offsets(self, space: str) -> list[list[dict[str, Any]]]:
        """Words are what is between pieces that are `space`."""
        whole, ends = self._joined(self.spelling.letters)
        in_word = np.array([piece != space for piece in self.spelling.pieces])[self.symbols]
        first, last = in_word.copy(), in_word.copy()  # of a word's symbols
        inner = np.ones(len(in_word) + 1, bool)
        inner[self.bounds] = False  # no word goes from one text to the next
        first[1:] &= ~(in_word[:-1] & inner[1:-1])
        last[:-1] &= ~(in_word[1:] & inner[1:-1])
        firsts, lasts = np.flatnonzero(first), np.flatnonzero(last)  # (W,) each
        columns = ends[firsts], ends[lasts + 1], self.starts[firsts], self.ends[lasts]
        words = [
            {"word": whole[begins:finishes], "start_offset": start, "end_offset": end}
            for begins, finishes, start, end in zip(*map(np.ndarray.tolist, columns), strict=True)
        ]
        return _cut(words, np.searchsorted(firsts, self.bounds))

    def _joined(self, letters: tuple[Ints, npt.NDArray[np.uint32]]) -> tuple[str, Ints]:
        """All texts as one, and where each symbol begins in it, and where the last ends (N + 1,)."""
        places, points = letters
        lengths = np.diff(places)[self.symbols]
        ends = np.concatenate(([0], np.cumsum(lengths)))
        if (np.diff(places)[self.spelling.kept] == 1).all():
            chosen = points[places[self.symbols]]
        else:
            chosen = points[np.repeat(places[self.symbols] - ends[:-1], lengths) + np.arange(ends[-1])]
        return str(chosen.tobytes(), *UTF32), ends


def collapsed(sequences: Any, spelling: Spelling, group: bool = True, lengths: Any = None) -> Collapsed:
    """Of a batch: a list, array or tensor of sequences of ids; an id on its own is a sequence of one.

    `group`: repeats are one. `lengths`: how many ids of each sequence count, where those after them are padding.
    """
    ids, bounds = flat(sequences, lengths)
    if group:
        starts = stretches(ids, bounds)
        symbols = spelling.symbols_of(ids[starts])
        again = stretches(symbols, np.searchsorted(starts, bounds))  # ids may differ and yet be one symbol
        starts, symbols = starts[again], symbols[again]
    else:
        starts, symbols = np.arange(len(ids)), spelling.symbols_of(ids)
    ends = np.append(starts[1:], len(ids))[: len(starts)]
    kept = np.flatnonzero(spelling.kept[symbols])
    starts, ends = starts[kept], ends[kept]  # (N,) each
    cuts = np.searchsorted(starts, bounds)
    begins = np.repeat(bounds[:-1], np.diff(cuts))
    return Collapsed(spelling, symbols[kept], starts - begins, ends - begins, cuts)


def stretches(labels: Ints, bounds: Ints) -> Ints:
    """The first frame of every stretch of one label, of sequences in one row, which begin at `bounds`."""
    changes = np.ones(len(labels) + 1, bool)
    np.not_equal(labels[1:], labels[:-1], out=changes[1:-1])
    changes[bounds] = True
    return np.flatnonzero(changes[:-1])


def flat(sequences: Any, lengths: Any = None) -> tuple[Ints, Ints]:
    """The ids of all sequences in one row, and where each begins in it, and the last ends."""
    whole = _array(sequences)
    if whole is not None and whole.ndim in (1, 2):
        whole = whole if whole.ndim == 2 else whole[:, None]  # (B, T); ids on their own are sequences of one
        ids, sizes = whole.reshape(-1), np.full(len(whole), whole.shape[1])
    elif whole is not None:
        raise ArgumentError(
            f"ids are decoded, not logits, which an array of shape {whole.shape} may be: take their argmax"
        )
    else:
        ids, sizes = _joined(sequences)
    if lengths is not None:
        ids, sizes = _shortened(ids, sizes, as_counts(lengths))
    return ids, np.concatenate(([0], np.cumsum(sizes)))


def as_lists(values: Any) -> Any:
    """Python's own numbers, of arrays and tensors too, within lists."""
    if isinstance(values, list | tuple):
        return [as_lists(value) for value in values] if values and not isinstance(values[0], int) else list(values)
    return values.tolist() if hasattr(values, "tolist") else values


def _array(values: Any) -> npt.NDArray[Any] | None:
    """Of an array or a tensor, wherever that is."""
    values = as_array(values) if is_tensor(values) else values
    if not isinstance(values, np.ndarray) or values.dtype == object:
        return None
    if values.dtype.kind not in "iub":
        raise ArgumentError(f"ids are whole numbers, not {values.dtype}: of logits, take the argmax")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values  # which would choose, as an index


def _joined(sequences: Any) -> tuple[Ints, Ints]:
    """The ids of sequences in one row, and how many each has."""
    rows = [_row(row) for row in _listed(sequences, "sequences of ids")]
    sizes = np.array([len(row) for row in rows], np.int64)
    if all(isinstance(row, list) for row in rows):
        try:  # twice as fast as any other way, for the ids that most vocabularies have
            return np.frombuffer(b"".join(map(bytes, rows)), np.uint8), sizes
        except (ValueError, TypeError):
            pass
    return np.concatenate([_checked(row) for row in rows] or [np.empty(0, np.int64)]), sizes


def _row(values: Any) -> "list[int] | Ints":
    """One sequence."""
    whole = _array(values)
    if whole is not None and whole.ndim > 1:
        raise ArgumentError(
            f"a sequence of ids has one dimension, and this one the shape {whole.shape}: batch_decode takes the ids of "
            "several recordings, decode those of one"
        )
    if whole is not None:
        return whole.reshape(-1)
    if isinstance(values, int | np.integer):
        return [int(values)]
    return _listed(values, "ids of a sequence")


def _listed(values: Any, name: str) -> list[Any]:
    if isinstance(values, list):
        return values
    try:
        return list(values)
    except TypeError as error:
        raise ArgumentError(f"the {name} are a list, an array or a tensor, not {values!r:.100}") from error


def as_counts(lengths: Any) -> list[int]:
    """Of one sequence the length may stand alone."""
    values = as_lists(lengths)
    values = [values] if isinstance(values, int) else as_lists(_listed(values, "lengths"))
    try:
        return [operator.index(value) for value in values]
    except TypeError as error:
        raise ArgumentError(f"lengths are whole numbers, not {values!r:.100}") from error


def _checked(row: Any) -> Ints:
    if isinstance(row, np.ndarray):
        return row
    try:
        return np.frombuffer(array("q", row), np.int64)
    except (TypeError, OverflowError) as error:
        raise ArgumentError(f"a sequence is a list of ids, which are whole numbers, not {row!r:.100}") from error


def _shortened(ids: Ints, sizes: Ints, lengths: Sequence[int]) -> tuple[Ints, Ints]:
    if len(lengths) != len(sizes):
        raise ArgumentError(f"there are {len(lengths)} lengths for {len(sizes)} sequences")
    counted = np.array(lengths, np.int64)
    if (wrong := np.flatnonzero((counted < 0) | (counted > sizes))).size:
        one = int(wrong[0])
        raise ArgumentError(f"sequence {one} has {sizes[one]} ids, of which {counted[one]} cannot count")
    frames = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ids[frames < np.repeat(counted, sizes)], counted


def _cut(items: list[dict[str, Any]], bounds: Ints) -> list[list[dict[str, Any]]]:
    cuts = bounds.tolist()
    return [items[start:end] for start, end in pairwise(cuts)]
