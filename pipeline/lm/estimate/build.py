"""Text -> a modified Kneser-Ney model, the whole estimation on one screen; knows nothing of files it may end up in.

The algorithm is that of Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation": everything is a
sorted stream, in suffix order (by the last word first) or in context order (by the context in suffix order, then the
word). What memory does not hold goes through sorted runs in a temporary folder:

    text       -> n-grams of the highest order, in suffix order, with their counts
    adjust     -> n-grams of all orders with adjusted counts            -> context order
    smooth     -> discounted shares, and the backoff of each context    -> suffix order
    interpolate -> probabilities, from the lowest order to the highest

The results are those of KenLM's lmplz, but for three oddities of it: it forgets the end of a last line that has no line
end, enters the n-gram that sorts last into the counts of counts with its occurrences instead of its adjusted count (of
no weight in any text worth a model), and takes a byte order mark, form feeds and vertical tabs for letters.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.lm.estimate import text
from pipeline.lm.estimate.counting import Adjusted, Windows, adjust, context_key, suffix_key
from pipeline.lm.estimate.discounts import estimate_discounts
from pipeline.lm.estimate.interpolation import interpolate, order_of, write_unigrams
from pipeline.lm.estimate.options import Discounts, Estimate, EstimateOptions, OrderCounts
from pipeline.lm.estimate.output import told_of_room
from pipeline.lm.estimate.smoothing import smooth, smooth_unigrams
from pipeline.lm.estimate.sorting import Sorter
from pipeline.lm.estimate.words import SPECIAL, Words

Tell = Callable[[str], None]


@contextlib.contextmanager
def estimate(locations: Sequence[str], options: EstimateOptions, tell: Tell = lambda text: None) -> Iterator[Estimate]:
    """The model of the text files' words, while the block lasts: its n-grams lie in a temporary folder."""
    temp = options.temp or tempfile.gettempdir()
    with contextlib.ExitStack() as stack:
        with told_of_room(temp, "set --temp to a folder with room for some 60 bytes a word"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nightshift-build-lm-", dir=temp))
            pool = stack.enter_context(ThreadPoolExecutor(2, "sort"))
            model = _Estimation(Path(folder), pool, options, tell).run(locations)
        yield model


class _Estimation:
    """The stages, and the files between them."""

    def __init__(self, folder: Path, pool: Executor, options: EstimateOptions, tell: Tell) -> None:
        self._folder, self._pool, self._options, self._tell = folder, pool, options, tell
        self._orders = range(2, options.order + 1)  # those that are sorted; single words are few

    def run(self, locations: Sequence[str]) -> Estimate:
        options = self._options
        words = Words(options.skip_symbols)
        counted, num_words, num_sentences = self._count(locations, words)
        adjusted, by_context = self._adjust(counted, _allowed(words, options))
        discounts = [
            estimate_discounts(order, adjusted.num_with_count[order].tolist(), options.discount_fallback)
            for order in range(1, options.order + 1)
        ]
        by_suffix = self._smooth(by_context, discounts)
        kept = self._interpolate(by_suffix, adjusted, discounts[0])
        new_ids = (np.cumsum(kept) - 1).astype(np.uint32)
        adjusted.num_seen[1], adjusted.num_kept[1] = len(words), kept.sum()
        strings = words.strings()
        return Estimate(
            words=[strings[word] for word in np.flatnonzero(kept)],
            orders=[
                order_of(self._result(order), order, int(adjusted.num_kept[order]), new_ids)
                for order in range(1, options.order + 1)
            ],
            num_words=num_words,
            num_sentences=num_sentences,
            counts=[
                OrderCounts(int(seen), int(kept), by_order)
                for seen, kept, by_order in zip(adjusted.num_seen[1:], adjusted.num_kept[1:], discounts, strict=True)
            ],
        )

    def _count(self, locations: Sequence[str], words: Words) -> tuple[Sorter, int, int]:
        order = self._options.order
        sorter = self._sorter("counted", suffix_key(order), order + 1, self._options.memory, combine=True)
        windows = Windows(order)
        num_tokens = num_sentences = 0
        for block in text.blocks(locations):
            ids = words.ids(block)
            sorter.add(windows.rows(ids))
            num_tokens += len(ids)
            num_sentences += block.data.count(b"\n")
            self._tell(f"reading: {num_tokens - num_sentences:,} words, {len(words):,} of them different")
        sorter.finish()
        if num_tokens == num_sentences:
            raise UsageError(f"{', '.join(locations)}: no words in it")
        return sorter, num_tokens - num_sentences, num_sentences

    def _adjust(self, counted: Sorter, allowed: npt.NDArray[np.bool_]) -> tuple[Adjusted, list[Sorter]]:
        self._tell(f"adjusting the counts of {self._options.order}-grams and shorter ones")
        memory = self._options.memory
        shares = [order + 1 for order in self._orders]  # wide rows are many, too
        sorters = [
            self._sorter(f"context-{order}", context_key(order), order + 1, memory * 3 // 4 * share // sum(shares))
            for order, share in zip(self._orders, shares, strict=True)
        ]
        options = self._options
        adjusted = adjust(counted.blocks(memory // 4), options.order, options.thresholds(), allowed, sorters)
        for sorter in sorters:
            sorter.finish()
        return adjusted, sorters

    def _smooth(self, by_context: list[Sorter], discounts: list[Discounts]) -> list[Sorter]:
        """Two orders at a time, each with half of the memory: half of that to read, half to sort again."""
        self._tell("smoothing: discounts and backoffs")
        share = self._options.memory // 4

        def one(order: int) -> Sorter:
            sorter = self._sorter(f"suffix-{order}", suffix_key(order), order + 2, share)
            blocks = by_context[order - 2].blocks(share)
            smooth(blocks, order, discounts[order - 1], sorter, self._backoffs(order - 1))
            sorter.finish()
            return sorter

        with ThreadPoolExecutor(2, "smooth") as pool:
            return list(pool.map(one, reversed(self._orders)))[::-1]  # the largest first

    def _interpolate(self, by_suffix: list[Sorter], adjusted: Adjusted, discounts: Discounts) -> npt.NDArray[np.bool_]:
        """Writes the probabilities of all orders; returns which words are kept."""
        probabilities, kept = smooth_unigrams(adjusted.unigrams, discounts)
        write_unigrams(self._result(1), probabilities, kept, self._backoffs(1))
        for order, sorter in zip(self._orders, by_suffix, strict=True):
            self._tell(f"interpolating {order}-grams: {adjusted.num_kept[order]:,}")
            backoffs = self._backoffs(order) if order < self._options.order else None
            blocks = sorter.blocks(self._options.memory // 2)
            interpolate(blocks, order, self._result(order - 1), backoffs, self._result(order))
            self._backoffs(order - 1).unlink()
        return kept

    def _backoffs(self, order: int) -> Path:
        return self._folder / f"backoffs-{order}"

    def _result(self, order: int) -> Path:
        return self._folder / f"result-{order}"

    def _sorter(self, name: str, key: list[int], num_columns: int, memory: int, combine: bool = False) -> Sorter:
        return Sorter(self._folder / name, key, num_columns, memory, self._pool, combine)


def _allowed(words: Words, options: EstimateOptions) -> npt.NDArray[np.bool_]:
    """Index = word id. Of words that are equally frequent, those that came first."""
    allowed = np.ones(len(words), np.bool_)
    if options.allowed_words is not None:
        allowed[:] = [word in options.allowed_words for word in words.strings()]
    if options.limit_vocab is not None:
        frequencies = np.where(allowed, words.frequencies(), 0)
        frequencies[: len(SPECIAL)] = 0
        allowed[np.argsort(-frequencies, kind="stable")[options.limit_vocab :]] = False
    allowed[: len(SPECIAL)] = True
    return allowed
