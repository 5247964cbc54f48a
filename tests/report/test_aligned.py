"""What would show a recording wrongly: words lost or out of order between the lines, errors left out of long ones."""

import re
from dataclasses import replace

import jiwer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.results import Example
from pipeline.evaluation.rows import Level
from pipeline.report.aligned import MOST_COLUMNS, alignment, places
from tests.report.figures import example
from tests.report.test_html import Seen

WORDS = st.lists(st.sampled_from("abcd"), max_size=9)
OURS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}


def aligned(said: list[str], heard: list[str]) -> Example:
    """By jiwer, which knows nothing of our places."""
    (chunks,) = jiwer.process_words(" ".join(said), " ".join(heard)).alignments
    sizes = ((c.type, max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)) for c in chunks)
    told = "".join(f"{size}{OURS[kind]}" for kind, size in sizes)
    reference, text = " ".join(said), " ".join(heard)
    return replace(example(), said=reference, heard=text, alignment=told)


@given(said=WORDS, first=WORDS, second=WORDS)
def test_each_line_reads_as_its_text(said: list[str], first: list[str], second: list[str]) -> None:
    found = places([aligned(said, first), aligned(said, second)])
    assert [place.said for place in found if place.said] == said
    for number, heard in enumerate((first, second)):
        line = [one for place in found if (one := place.heard[number]) is not None]
        assert [one.word for one in line if one.word] == heard
        for place in found:
            one = place.heard[number]
            assert one is None or (one.symbol == "I") == (place.said == "")
            assert one is None or (one.symbol == "=") == (one.word == place.said)


@given(said=WORDS, heard=WORDS)
def test_what_is_read_aloud_or_copied_has_every_word(said: list[str], heard: list[str]) -> None:
    shown = Seen(alignment([aligned(said, heard)], Level.WORDS)).text
    assert all(word in shown for word in (*said, *heard))


def test_marks_are_words_of_their_own_and_not_colours() -> None:
    shown = alignment(
        [example()], Level.WORDS
    )  # its kinds of errors are elements that are struck through and underlined
    assert '<ins class="s">too</ins>' in shown
    assert "<del>the</del>" in shown
    assert '<ins class="i">the</ins>' in shown


def test_of_a_long_recording_errors_are_shown_and_the_rest_is_counted() -> None:
    said = [f"w{number}" for number in range(10_000)]
    heard = ["wrong" if number % 100 == 50 else word for number, word in enumerate(said)]
    shown = alignment([aligned(said, heard)], Level.WORDS)
    columns = shown.count('class="t"')
    assert columns == MOST_COLUMNS
    assert len(shown) < 30_000
    text = Seen(shown).text.replace(",", "")
    alike = sum(int(num) for num in re.findall(r"\[(\d+) words alike\]", text))
    (rest,) = re.findall(r"\[(\d+) words (\d+) of them wrong\]", text)
    assert columns + alike + int(rest[0]) == 10_000
    assert shown.count("wrong</ins>") + int(rest[1]) == 100


def test_nothing_said_and_nothing_heard() -> None:
    assert "Nothing was said" in alignment([aligned([], [])], Level.WORDS)
