"""What recordings can be sliced by: the columns of the input, and what is derived, each cut into a few named values.

Numbers are cut into ranges with edges that people read. Knows nothing of errors but how many words were said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.evaluation.scores import Scores
from pipeline.intervals import comparable, encoded

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

FEW = 50  # values that a column may have to be sliced by as it is
NUM_RANGES = 5
EACH_TEXT, EACH_NUMBER = 2, 5  # recordings of a value on average; of fewer it is an id, or ranges say more
LOOKED_AT = 10_000  # recordings that show whether a column of text is worth a look at all of them
NONE, EMPTY = "(none)", "(empty)"
BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
# Numbers that are names have no ranges: in a column called, say, speaker or chapter_id.
IDENTITIES = {"id", "uid", "key", "speaker", "spk", "client", "user", "session", "chapter", "book", "file", "index"}


@dataclass(frozen=True)
class Labels:
    """A column in few values."""

    column: str
    values: tuple[str, ...]  # in the order that they go; there is a recording with each
    codes: Codes  # (N,) which of them; -1: none
    told: str = ""  # what is odd about it


@dataclass(frozen=True)
class Derived:
    """A column that the evaluation makes itself."""

    of: Callable[[Scores], Values]  # NaN: unknown, and in no slice
    edges: tuple[float, ...]  # where ranges begin; none: as the values lie
    unit: str = ""


def _words_per_s(scores: Scores) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        rate: Values = scores.words.num_reference / scores.duration_s
    return np.where(np.isfinite(rate) & scores.has_words, rate, np.nan)


DERIVED = {
    "duration_s": Derived(lambda scores: scores.duration_s, (1, 2, 5, 10, 20, 30, 60, 300), "s"),
    "words_per_s": Derived(_words_per_s, (1, 1.5, 2, 2.5, 3, 4), "words/s"),  # of the reference
    "snr_estimate_db": Derived(lambda scores: scores.snr_estimate_db, (0, 5, 10, 15, 20, 30), "dB"),
    "confidence": Derived(lambda scores: scores.confidence, ()),
}


def names(scores: Scores) -> tuple[str, ...]:
    """All that can be asked for; what is derived comes before a column of the input of that name."""
    return (*DERIVED, *(name for name in scores.columns.column_names if name not in DERIVED))


def labels(scores: Scores, columns: Sequence[str] | None = None) -> tuple[Labels, ...]:
    """Of the columns that are asked for, else of all with at least two and at most `FEW` values, or ranges of numbers.

    What is asked for and cannot be sliced has no values, and tells why.
    """
    known = names(scores)
    if strange := [name for name in columns or () if name not in known]:
        raise UsageError(f"cannot slice by {strange[0]}: there is no such column, only {', '.join(known)}")
    found = []
    for name in dict.fromkeys(known if columns is None else columns):
        if name in DERIVED:
            one = _derived(name, DERIVED[name], scores)
        else:
            one = _passed_through(name, comparable(scores.columns[name]), asked=columns is not None)
        if columns is not None or len(one.values) > 1:
            found.append(one)
    return tuple(found)


def warnings(scores: Scores, columns: Sequence[str] | None) -> tuple[str, ...]:
    """What is odd about the columns that are asked for."""
    return () if columns is None else tuple(one.told for one in labels(scores, columns) if one.told)


def _derived(name: str, derived: Derived, scores: Scores) -> Labels:
    values = derived.of(scores)
    if np.isnan(values).all():
        return _nothing(name, len(values), "it is known of no recording")
    return _in_ranges(name, values, derived.edges or _edges(values), derived.unit, none=False)


def _passed_through(name: str, column: pa.ChunkedArray, asked: bool) -> Labels:
    kind = column.type
    if pa.types.is_nested(kind) or any(is_bytes(kind) for is_bytes in BYTES):
        return _nothing(name, len(column), f"its values are {kind}")
    has_ranges = not IDENTITIES & set(name.lower().split("_"))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy()
        _, counts = np.unique(values[~np.isnan(values)], return_counts=True)
        if has_ranges and not _are_few_numbers(counts):
            return _in_ranges(name, values, _edges(values), none=True)
    try:
        texts = column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # no text can be made of it, or not of a time zone not known
        return _nothing(name, len(column), f"its values are {kind}")
    return _text(name, texts, asked, has_ranges)


def _text(name: str, column: pa.ChunkedArray, asked: bool, has_ranges: bool) -> Labels:
    if not asked and len(column) > LOOKED_AT:
        some = column.slice(0, LOOKED_AT).unique()
        if len(some) > FEW + 1 and not (has_ranges and _numbers(some) is not None):
            return _nothing(name, len(column), "it has too many values")
    distinct, codes = encoded(column)
    counts = np.bincount(codes + 1, minlength=len(distinct) + 1)[1:]
    numbers = _numbers(distinct)
    if numbers is not None and has_ranges and not _are_few_numbers(counts):
        values = np.append(numbers, np.nan)[codes]  # -1 is the last
        return _in_ranges(name, values, _edges(values), none=True)
    if not (asked or _are_few(counts, EACH_TEXT)):
        return _nothing(name, len(codes), "it has too many values")
    shown = [value or EMPTY for value in distinct.to_pylist()]
    told = ""
    if len(distinct) > FEW:
        shown, codes = _largest(shown, codes)
        told = f"{name} has {len(distinct):,} values: the {FEW} of the most recordings are slices, and all others one"
        order = np.arange(len(shown))
    else:
        by_text = sorted(range(len(shown)), key=shown.__getitem__)
        order = np.argsort(numbers, kind="stable") if numbers is not None else np.array(by_text, np.int64)
    place = np.empty(len(shown) + 1, np.int64)
    place[order] = np.arange(len(shown))
    place[-1] = len(shown)  # none comes last
    return _used(name, [*(shown[number] for number in order), NONE], place[codes], told)


def _numbers(distinct: pa.Array) -> Values | None:
    """Texts as finite numbers, if all are, or empty: unknown; 007 is a name."""
    distinct = pc.if_else(pc.equal(distinct, ""), None, distinct)
    if pc.any(pc.match_substring_regex(distinct, r"^\s*[+-]?0\d")).as_py():
        return None
    try:
        values: Values = distinct.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return None if np.isinf(values).any() or np.isnan(values).all() else values


def _are_few(counts: Codes, each: int) -> bool:
    """Whether so many recordings have each value, but for the one that most have."""
    return len(counts) <= FEW and (len(counts) - 1) * each <= counts.sum() - counts.max(initial=0)


def _are_few_numbers(counts: Codes) -> bool:
    """So few that ranges would not be fewer."""
    return _are_few(counts, EACH_TEXT if len(counts) <= NUM_RANGES else EACH_NUMBER)


def _largest(shown: list[str], codes: Codes) -> tuple[list[str], Codes]:
    """The largest values, by their names, and one for the others."""
    counts = np.bincount(codes[codes >= 0], minlength=len(shown))
    kept = sorted(np.argsort(-counts, kind="stable")[:FEW], key=lambda number: shown[number])
    place = np.full(len(shown) + 1, len(kept), np.int64)
    place[kept] = np.arange(len(kept))
    place[-1] = -1
    return [*(shown[number] for number in kept), f"{len(shown) - FEW:,} others"], place[codes]


def _in_ranges(name: str, values: Values, edges: Sequence[float], unit: str = "", *, none: bool) -> Labels:
    """Ranges begin at an edge and end before the next; `none`: whether unknown is a value, too."""
    known = ~np.isnan(values)
    codes = np.searchsorted(np.asarray(edges, np.float64), values, side="right").astype(np.int64)
    codes[~known] = len(edges) + 1 if none else -1
    whole = not unit and bool(np.all(values[known] == np.rint(values[known])))
    return _used(name, [*_names(edges, unit, whole), NONE], codes)


def _names(edges: Sequence[float], unit: str, whole: bool) -> list[str]:
    """Of whole numbers the last of a range is told, of others where the next one begins."""
    if not edges:
        return ["all"]
    end = f" {unit}" if unit else ""
    between = []
    for low, high in pairwise(edges):
        last = high - 1 if whole else high
        between.append(f"{_shown(low)} to {_shown(last)}{end}" if last > low else f"{_shown(low)}{end}")
    return [f"under {_shown(edges[0])}{end}", *between, f"{_shown(edges[-1])}{end} and more"]


def _shown(number: float) -> str:
    return f"{number:,.10g}"


def _edges(values: Values) -> list[float]:
    """Between up to `NUM_RANGES` ranges of about as many recordings each, round as far as that moves them little."""
    known = values[np.isfinite(values)]
    shares = np.arange(1, NUM_RANGES) / NUM_RANGES
    least = known.min(initial=np.inf)
    exact = np.unique(np.quantile(known, shares)) if len(known) else np.empty(0)
    exact = exact[exact > least]
    if len(exact) < 2 and len(known):  # most recordings have one value
        others = np.unique(known)[1:]
        exact = np.unique(np.quantile(others, shares[:-1])) if len(others) else exact
    if len(exact) < 2:
        return [float(edge) for edge in exact]
    gaps = np.diff(exact)
    gaps = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    whole = bool(np.all(known == np.rint(known)))
    return sorted({_rounded(edge, gap, whole) for edge, gap in zip(exact, gaps, strict=True)})


def _rounded(edge: float, gap: float, whole: bool) -> float:
    """To a multiple of 1, 2 or 5 times a power of ten that is at most a third of the way to the next edge."""
    power = 10.0 ** np.floor(np.log10(gap / 3))
    step = power * max(factor for factor in (1, 2, 5) if factor * power <= gap / 3 * (1 + 1e-9))
    step = max(step, 1.0) if whole else step
    return float(f"{round(edge / step) * step:.12g}")  # 0.3 and not 0.30000000000000004


def _used(name: str, values: Sequence[str], codes: Codes, told: str = "") -> Labels:
    """Without the values that no recording has."""
    used = np.bincount(codes[codes >= 0], minlength=len(values)) > 0
    place = np.append(np.cumsum(used) - 1, -1)
    return Labels(
        name, tuple(value for value, is_used in zip(values, used, strict=True) if is_used), place[codes], told
    )


def _nothing(name: str, num: int, why: str) -> Labels:
    return Labels(name, (), np.full(num, -1, np.int64), f"{name} has no slices: {why}")
