"""Ways to say words in sentences: phones given to the word beside would be found where that word was never said."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

from collections import Counter

import pytest

from pipeline.text.espeak import Phonemizer, available
from pipeline.text.in_sentences import Heard, heard, in_capitals


def hear(words: list[str], *lines: str) -> Heard:
    if (missing := available()) is not None:
        pytest.skip(missing)
    return heard(words, lines, Phonemizer("en-us"), lambda done, of: None)


def test_phones_go_to_the_word_that_was_said():
    found = hear(["to", "go", "a", "dog"], 'They "go" to town, to eat — a dog! To go.')
    assert found.ways == {
        "go": Counter({("ɡ", "oʊ"): 2}),
        "to": Counter({("t", "ə"): 2, ("t", "ʊ"): 1}),
        "a": Counter({("ɐ",): 1}),
        "dog": Counter({("d", "ɑː", "ɡ"): 1}),
    }
    assert (found.num_parts, found.num_unmatched) == (3, 0)


@pytest.mark.parametrize("line", ["the end of the day", "21 of the days", "he said 1,000 days"])
def test_a_part_whose_words_cannot_be_told_apart_says_nothing(line):
    """espeak runs `of the` together and makes two words of 21: their numbers match, and are each another's."""
    found = hear(["the", "of", "end", "days", "day"], line)
    assert (found.ways, found.num_parts, found.num_unmatched) == ({}, 1, 1)


def test_what_has_none_of_the_words_is_not_said():
    assert hear(["dog"], "a cat. a dog", "", "?!") == Heard({"dog": Counter({("d", "ɑː", "ɡ"): 1})}, 1, 0)


def test_the_most_frequent_way_is_first_a_rare_one_is_left_out_and_that_alone_stays():
    found = Heard({"to": Counter({("t", "o"): 4, ("t", "ə"): 90, ("t", "ʊ"): 6})}, 100, 0)
    assert found.said("to", ("t", "uː")) == [("t", "ə"), ("t", "ʊ"), ("t", "uː")]
    assert found.said("to", ("t", "o")) == [("t", "ə"), ("t", "ʊ"), ("t", "o")]
    assert found.said("never", ("n",)) == [("n",)]


def test_a_text_in_capitals_is_told_by_most_of_its_words():
    assert in_capitals(["GO", "TO", "3", "it"]) and not in_capitals(["US", "It", "go"]) and not in_capitals([])
