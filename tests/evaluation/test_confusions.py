"""What was taken for what, against a plain count of jiwer's alignments."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jiwer
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import confusions
from pipeline.evaluation.alignment import align
from pipeline.evaluation.confusions import Counts, Tally, count
from pipeline.evaluation.results import Confusion, Confusions
from pipeline.evaluation.rows import Level

COLUMNS = ("normalized_reference", "normalized_text", "word_alignment", "char_alignment")
TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "é", "中文", "\U0001f600", "\x00"]), max_size=6).map(" ".join)


def scored(references: Sequence[str | None], texts: Sequence[str | None]) -> pa.Table:
    columns = pa.array(references, pa.string()), pa.array(texts, pa.string())
    found = align(*columns)
    return pa.table([*columns, found.word_alignment, found.char_alignment], names=COLUMNS)


def by_jiwer(process: Callable[[str, str], Any], pairs: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for reference, text in pairs:
        found = process(reference, text)
        for chunk in found.alignments[0]:
            said = found.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
            heard = found.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "substitute":
                counts.update(zip(said, heard, strict=True))
            elif chunk.type != "equal":
                counts.update((one, "") if chunk.type == "delete" else ("", one) for one in [*said, *heard])
    return counts


def ordered(counts: Counter[tuple[str, str]], num: int) -> Confusions:
    """The most frequent first, then as their bytes go, as Arrow has it."""
    rows = sorted((-num, said.encode(), heard.encode()) for (said, heard), num in counts.items())
    made = [Confusion(said.decode(), heard.decode(), -num) for num, said, heard in rows]
    return Confusions(
        tuple(one for one in made if one.said and one.heard)[:num],
        tuple(one for one in made if not one.heard)[:num],
        tuple(one for one in made if not one.said)[:num],
    )


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8), st.integers(1, 5), st.integers(0, 8))
def test_words_and_characters_are_counted_as_jiwer_aligns_them_part_by_part(
    pairs: list[tuple[str, str]], num: int, first: int
) -> None:
    table = scored([one for one, _ in pairs], [one for _, one in pairs])
    for counts in (count(table), sum((count(table.slice(first)), count(table.slice(0, first))), Counts())):
        assert counts.words.top(num) == ordered(by_jiwer(jiwer.process_words, pairs), num)
        assert counts.chars.top(num) == ordered(by_jiwer(jiwer.process_characters, pairs), num)
        assert (counts.words.num_missed, counts.chars.num_missed) == (0, 0)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8))
def test_phones_are_counted_as_words_are_and_have_no_characters(pairs: list[tuple[str, str]]) -> None:
    names = [Level.PHONES.said, Level.PHONES.heard, Level.PHONES.alignment]
    table = scored([one for one, _ in pairs], [one for _, one in pairs]).drop_columns(["char_alignment"])
    counts = count(table.rename_columns(names), Level.PHONES)
    assert counts.words.top(5) == ordered(by_jiwer(jiwer.process_words, pairs), 5)
    assert counts.chars.top(5) == Confusions((), (), ())


def test_rows_without_an_alignment_count_nothing_and_an_empty_run_has_no_confusions() -> None:
    counts = count(scored(["a", None, "a b", None], ["b", "b", None, None]))
    assert counts.words.top(9) == Confusions((Confusion("a", "b", 1),), (), ())
    assert Counts().words.top(9) == count(scored([None], ["a"])).chars.top(9) == Confusions((), (), ())


def test_many_rows_are_counted_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scored(["a b c"] * 50 + ["c d"] * 50, ["a c c"] * 50 + ["d d e"] * 50)
    whole = count(table)
    monkeypatch.setattr(confusions, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(confusions, "MIN_WAITING", 3)
    parts = count(table)
    assert parts.words.top(9) == whole.words.top(9)
    assert parts.words.num_distinct <= len(parts.words.pairs) <= 2 * whole.words.num_distinct + 3  # they do not pile up
    assert whole.words.top(9) == Confusions(
        (Confusion("b", "c", 50), Confusion("c", "d", 50)), (), (Confusion("", "e", 50),)
    )


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")), min_size=1), min_size=1))
@settings(max_examples=50)
def test_of_too_many_pairs_the_rare_are_forgotten_and_how_many_that_may_be_is_told(
    parts: list[list[tuple[str, str]]],
) -> None:
    """A corpus of a billion words must not need memory for every pair of them that was confused once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confusions, "MAX_PAIRS", 6)
        patch.setattr(confusions, "MIN_WAITING", 0)
        total, exact = Tally(confusions.SCHEMA.empty_table()), Counter(pair for part in parts for pair in part)
        for part in parts:
            said, heard = (pa.array(side, pa.large_string()) for side in zip(*part, strict=True))
            total += confusions._tally(said, heard)
        total = total.settled()
        assert len(total.pairs) <= 6
        found = {(one.said, one.heard): one.count for one in total.top(99).substitutions}
    for pair, num in exact.items():
        assert num - total.num_missed <= found.get(pair, 0) <= num
    assert total.num_missed > 0 or found == exact


def test_an_alignment_of_other_texts_is_refused() -> None:
    table = scored(["a b", "a b c"], ["a", "a b"])
    for column, other in (("normalized_reference", "a b c d"), ("normalized_text", "a b c"), ("normalized_text", "")):
        wrong = table.set_column(table.schema.get_field_index(column), column, pa.array(["a b", other]))
        with pytest.raises(ValueError, match="its alignment is not of its texts"):
            count(wrong)
