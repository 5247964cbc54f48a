"""Text of this machine: only plain words get in, no test sentence is ever trained on, and it is the same each time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.demo import sentences
from pipeline.demo.sentences import corpus, is_held_out, normalise, prose, split

ALLOWED = re.compile(r"[A-Z']+( [A-Z']+){2,29}")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Return the mean of all values.", "RETURN THE MEAN OF ALL VALUES"),
        ("It doesn't matter, or doesn\u2019t it?", "IT DOESN'T MATTER OR DOESN'T IT"),
        ('A "quoted" word (and brackets).', "A QUOTED WORD AND BRACKETS"),
        ("An on-disk read/write cache", "AN ON DISK READ WRITE CACHE"),
        ("One thing -- or another \u2014 or a third", "ONE THING OR ANOTHER OR A THIRD"),
        ("HTTP is spoken here", "HTTP IS SPOKEN HERE"),
        ("too short", None),
        ("word " * 31, None),
        ("Set `max_size` to a number", None),  # an identifier
        ("Calls foo.bar for each row", None),
        ("Returns a DataFrame of results", None),
        ("Wait for 30 seconds or so", None),
        ("where x is the input", None),  # a letter nobody says as a word
        ("a caf\u00e9 in the corner", None),
        ("a + b is returned", None),
        ("'''' is not a word", None),
        ("", None),
    ],
)
def test_only_plain_words_become_sentences(given, expected):
    assert normalise(given) == expected


@given(st.text(st.sampled_from("ab AB'\u2019-./\u00df\u0130\u01c4 \n\t\"(")) | st.text())
def test_whatever_gets_in_can_be_spelled_with_the_labels(text):
    for sentence in [normalise(text), *sentences.sentences(text)]:
        assert sentence is None or ALLOWED.fullmatch(sentence)


def test_docstrings_and_comments_are_found_and_code_is_not():
    source = '''"""The first sentence of all. A second one follows it!

    >>> not_this("one of the examples")
    """
# A comment that goes on
# over two lines
x = "this string is no docstring"  # neither is this comment taken
def f():
    """Do the thing, e.g. now

    - the first item of the list
    - the second of the items
    """
    # another one of the comments
'''
    found = [sentence for text in prose(source) for sentence in sentences.sentences(text)]
    assert found == [
        "THE FIRST SENTENCE OF ALL",
        "A SECOND ONE FOLLOWS IT",
        "DO THE THING FOR EXAMPLE NOW",
        "THE FIRST ITEM OF THE LIST",
        "THE SECOND OF THE ITEMS",
        "A COMMENT THAT GOES ON OVER TWO LINES",
        "ANOTHER ONE OF THE COMMENTS",
    ]


@pytest.mark.parametrize("source", ["def (", "x = '\0'", "print 'an old one'", "(" * 10_000])
def test_a_file_that_is_not_python_is_passed_over(source):
    assert list(prose(source)) == []


@given(st.lists(st.text(st.sampled_from("AB "), min_size=1)), st.lists(st.text(st.sampled_from("AB "), min_size=1)))
def test_no_sentence_is_trained_on_and_tested_whatever_else_is_installed(here, elsewhere):
    one, other = split(here), split(here + elsewhere)
    assert not set(one.train) & set(other.held_out)
    assert not set(other.train) & set(one.held_out)
    assert sorted(one.train + one.held_out) == sorted(set(here))


def test_this_installation_has_text_and_the_same_text_twice(monkeypatch):
    """With one folder, because all packages take a minute."""
    roots = [root / "asyncio" for root in sentences._source_roots()[:1]]
    monkeypatch.setattr(sentences, "_source_roots", lambda: [*roots, *roots, roots[0] / "no such package"])
    monkeypatch.setattr(sentences, "_service_prose", lambda: iter(["A service does one thing well. Or so they say."]))
    first = corpus()
    assert first == corpus()
    assert first.num_train_words > 3_000
    assert {"A SERVICE DOES ONE THING WELL", "OR SO THEY SAY"} <= {*first.train, *first.held_out}
    assert len({*first.train, *first.held_out}) == len(first.train) + len(first.held_out)
    assert all(map(is_held_out, first.held_out))
    assert not any(map(is_held_out, first.train))
