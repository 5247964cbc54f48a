"""Counts and alignments against jiwer, on any text: what is compiled must break every tie as jiwer does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jiwer
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import alignment, buffers
from pipeline.evaluation.alignment import align, oracle, runs, steps
from pipeline.evaluation.rows import ALIGNMENT_SYMBOLS
from pipeline.evaluation.scores import Errors
from pipeline.evaluation.tokens import Room, name_words

# Few letters, so that there are many best alignments; one to four bytes each, combining and joining ones; odd spaces.
LETTERS = (
    "ab",
    "aab  ",
    "abc \t",
    "aé\u0301\u0300 ",
    "中文a\u3000\u00a0",
    "\U0001f600\U0001f601\u200d\x00 \x1c\x85\u2028",
)
SYMBOLS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}

Count = tuple[int, int, int, int]


def spaced(text: str) -> str:
    return " ".join(text.split())


def by_jiwer(process: Callable[[str, str], Any], reference: str, text: str) -> tuple[Count, str]:
    found = process(spaced(reference), spaced(text))
    told = ""
    for chunk in found.alignments[0]:
        length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        told += f"{length}{SYMBOLS[chunk.type]}"
    return (found.hits, found.substitutions, found.deletions, found.insertions), told


def rows_of(errors: Errors) -> list[Count]:
    return list(zip(*(column.tolist() for column in errors), strict=True))


def check(pairs: list[tuple[str, str]]) -> None:
    references, texts = (pa.array(side, pa.string()) for side in zip(*pairs, strict=True))
    found = align(references, texts)
    words = list(zip(rows_of(found.words), found.word_alignment.to_pylist(), strict=True))
    chars = list(zip(rows_of(found.chars), found.char_alignment.to_pylist(), strict=True))
    assert words == [by_jiwer(jiwer.process_words, *pair) for pair in pairs]
    assert chars == [by_jiwer(jiwer.process_characters, *pair) for pair in pairs]


@st.composite
def pair(draw: st.DrawFn) -> tuple[str, str]:
    """Texts of the same few letters, the second sometimes the first with pieces cut out and put in."""
    letters = st.text(draw(st.sampled_from(LETTERS)), max_size=draw(st.sampled_from([4, 20, 90])))
    reference = draw(letters)
    if draw(st.booleans()):
        return reference, draw(letters)
    text = reference
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(text)))
        text = text[:first] + draw(letters)[:5] + text[first + draw(st.integers(0, 3)) :]
    return reference, text


@given(st.lists(pair(), min_size=1, max_size=8))
def test_counts_and_alignments_are_jiwers_with_many_ties(pairs: list[tuple[str, str]]) -> None:
    check(pairs)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_counts_and_alignments_are_jiwers_on_any_text(reference: str, text: str) -> None:
    check([(reference, text), (text, reference), (reference, reference)])


@pytest.mark.parametrize("length", [63, 64, 65, 128, 129, 700, 1900])
def test_counts_and_alignments_are_jiwers_on_long_texts(length: int) -> None:
    """Where differences fill one machine word or thirty, and rapidfuzz looks at a band of them only."""
    rng, pairs = np.random.default_rng(length), []
    for letters, wrong in (("ab", 0.3), ("abcdefgh ", 0.1), ("éa中 \U0001f600", 0.5)):
        reference = "".join(rng.choice(list(letters), length))
        text = "".join(
            kept if rng.random() > wrong else "".join(rng.choice(list(letters), rng.integers(0, 3)))
            for kept in reference
        )
        words = [" ".join(text) for text in (reference.replace(" ", "x"), text.replace(" ", "y"))]
        pairs += [(reference, text), (words[0], words[1]), (reference, text[: length // 9]), (reference[5:8], text)]
    check(pairs)


def test_texts_so_long_that_rapidfuzz_divides_them_are_jiwers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ties are others then: such texts are given to jiwer, words and characters each where they are too long."""
    rng, asked = np.random.default_rng(0), []
    ask = alignment._asked
    monkeypatch.setattr(alignment, "_asked", lambda *given: asked.append((given[2], list(given[1]))) or ask(*given))
    reference, text = ("".join(rng.choice(list("abcde"), 2200)) for _ in range(2))
    words = " ".join(reference[:500]), " ".join(text[:500])
    check([("a", "b"), (reference, text), words, (reference, text[:9]), ("a b", "a b")])
    assert asked == [(1, [1])]  # of characters the second pair
    check([(" ".join(reference), " ".join(text[:2100])), ("a", "")])
    assert asked[1:] == [(0, [0]), (1, [0])]
    just_not = ("x" + reference[:2045] + "x", "y" + text[:2047] + "y")
    check([just_not, (just_not[1], just_not[0])])
    assert len(asked) == 3
    check([("x" + reference[:2046] + "x", "y" + text[:2046] + "y")])
    assert asked[3:] == [(1, [0])]


def test_exactly_what_python_splits_at_is_white_space() -> None:
    points = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    texts = ["a" + "".join(f"{chr(point)}a" for point in points[i : i + 64]) for i in range(0, len(points), 64)]
    found = align(pa.array(texts), pa.array([""] * len(texts)))
    assert found.words.deletions.tolist() == [len(text.split()) for text in texts]
    assert found.chars.deletions.tolist() == [len(spaced(text)) for text in texts]


def test_words_are_told_apart_by_their_letters_and_not_by_a_hash() -> None:
    points = np.array([1, 2, 3, 4, 1, 2, 1], np.int32)
    starts, ends = np.array([0, 2, 4, 6], np.int32), np.array([2, 4, 6, 7], np.int32)
    room = Room(points, starts, ends, np.full(4, 7, np.uint64), np.empty(4, np.int32), np.empty(8, np.int32))
    name_words.py_func(room, 4)  # type: ignore[attr-defined]
    assert room.words[0] == room.words[2]
    assert len({*room.words.tolist()}) == 3


# ---- forms of input


def test_nulls_count_nothing_and_are_aligned_with_nothing() -> None:
    found = align(pa.array(["a b", None, None, "", "a"]), pa.array([None, "a", None, "", "a"]))
    assert found.word_alignment.to_pylist() == found.char_alignment.to_pylist() == [None, None, None, "", "1="]
    assert found.words.num_reference.tolist() == found.words.num_heard.tolist() == [0, 0, 0, 0, 1]
    assert found.word_alignment.type == found.char_alignment.type == pa.string()
    nothing = align(pa.array([], pa.string()), pa.chunked_array([], pa.string()))
    assert (len(nothing.words.hits), len(nothing.char_alignment)) == (0, 0)


REFERENCES = ["", "a b c", None, "the cat sat", "über straße", "x", "ein zwei drei vier"] * 3
TEXTS = ["a", "a c c", "b", "the cat", "uber strasse", None, "eins zwei vier"] * 3


def forms(values: list[str | None]) -> list[pa.Array | pa.ChunkedArray]:
    plain, odd = pa.array(values), pa.array(["zzz", *values, "yyy"])
    return [
        plain.cast(pa.large_string()),
        odd.slice(1, len(values)),
        pa.chunked_array([plain.slice(0, 4), plain.slice(4, 0), plain.slice(4)]),
        plain.dictionary_encode(),
        odd.cast(pa.large_string()).slice(1, len(values)),
    ]


def test_large_sliced_chunked_and_encoded_arrays_are_aligned_like_any_other() -> None:
    plain = align(pa.array(REFERENCES), pa.array(TEXTS))
    for references, texts in zip(forms(REFERENCES), reversed(forms(TEXTS)), strict=True):
        found = align(references, texts)
        assert (rows_of(found.words), rows_of(found.chars)) == (rows_of(plain.words), rows_of(plain.chars))
        assert found.word_alignment.equals(plain.word_alignment) and found.char_alignment.equals(plain.char_alignment)
        assert steps(pa.chunked_array([found.word_alignment]))[1].tolist() == steps(plain.word_alignment)[1].tolist()


def test_parts_and_threads_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = align(pa.array(REFERENCES), pa.array(TEXTS))
    for size in (1, 20, 50):
        monkeypatch.setattr(alignment, "PART_BYTES", size)
        with ThreadPoolExecutor(3) as threads:  # as units are scored side by side
            several = list(threads.map(lambda _: align(pa.array(REFERENCES), pa.array(TEXTS)), range(6)))
        for found in several:
            assert rows_of(found.chars) == rows_of(whole.chars)
            assert found.char_alignment.equals(whole.char_alignment)


def test_as_many_references_as_texts_are_asked_for() -> None:
    with pytest.raises(ValueError, match="2 references and 1 texts"):
        align(pa.array(["a", "b"]), pa.array(["a"]))
    with pytest.raises(ValueError, match="1 references and 2 lists"):
        oracle(pa.array(["a"]), pa.array([["a"], ["b"]]))


def test_text_that_is_not_text_is_refused_before_it_is_read_past_its_end() -> None:
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xf0"))
    with pytest.raises(pa.ArrowInvalid, match="UTF8"):
        align(broken, broken)


# ---- the best of several


@given(
    st.lists(
        st.tuples(
            st.none() | st.text("ab ", max_size=12),
            st.none() | st.lists(st.none() | st.text("ab ", max_size=12), max_size=4),
        ),
        max_size=6,
    )
)
@settings(max_examples=50)
def test_the_first_alternative_with_the_fewest_word_errors_is_counted(
    recordings: list[tuple[str | None, list[str | None] | None]],
) -> None:
    expected = []
    for reference, alternatives in recordings:
        counts = [
            by_jiwer(jiwer.process_words, reference, text)[0]
            for text in alternatives or []
            if reference is not None and text is not None
        ]
        expected.append(min(counts, key=lambda count: sum(count[1:]), default=(0, 0, 0, 0)))
    references = pa.array([reference for reference, _ in recordings], pa.string())
    nbests = pa.array([[["q"]], *([nbest] for _, nbest in recordings)], pa.list_(pa.list_(pa.string())))
    lists = nbests.flatten().slice(1)  # offsets that do not begin with zero
    assert rows_of(oracle(references, lists)) == expected
    assert rows_of(oracle(references, pa.chunked_array([lists.slice(0, 2), lists.slice(2)]))) == expected


# ---- alignments read again


@given(st.lists(pair(), min_size=1, max_size=5))
@settings(max_examples=50)
def test_steps_and_runs_are_what_was_counted(pairs: list[tuple[str, str]]) -> None:
    found = align(*(pa.array([None, *side], pa.string()) for side in zip(*pairs, strict=True)))
    for errors, told in ((found.words, found.word_alignment), (found.chars, found.char_alignment)):
        offsets, codes = steps(told)
        for row, (one, counts) in enumerate(zip(told.to_pylist(), rows_of(errors), strict=True)):
            here = codes[offsets[row] : offsets[row + 1]]
            assert "".join(symbol * num for symbol, num in runs(one or "")) == "".join(
                ALIGNMENT_SYMBOLS[code] for code in here
            )
            assert tuple(np.bincount(here, minlength=4).tolist()) == counts


def test_runs_of_many_are_read() -> None:
    assert runs("12=1S3=2D100I") == [("=", 12), ("S", 1), ("=", 3), ("D", 2), ("I", 100)]
    assert runs("") == []
    places, valid = np.array([0, 7, 9, 9, 11], np.int32), pa.array([True, False, True, True]).buffers()[1]
    bytes_under_a_null = pa.StringArray.from_buffers(4, pa.py_buffer(places), pa.py_buffer(b"1200=1S9=3I"), valid)
    offsets, codes = steps(bytes_under_a_null)
    assert offsets.tolist() == [0, 1201, 1201, 1201, 1204]
    assert codes.tolist() == [0] * 1200 + [1, 3, 3, 3]
    assert (offsets.dtype, codes.dtype, buffers.large(pa.array(["a"])).type) == (np.int64, np.uint8, pa.large_string())
