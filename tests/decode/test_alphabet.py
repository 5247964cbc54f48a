"""Labels: recognised as pyctcdecode recognises them, declared by a vocabulary, refused where no text could follow."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.alphabet import Alphabet
from pipeline.errors import UsageError
from pipeline.text.vocabulary import Vocabulary

TRICKY = ["a", "b", "|", " ", "_", "", "<pad>", "[PAD]", "[pad>", "<unk>", "[UNK]", "<s>", "##x", "##", "▁", "▁a"]
TRICKY += ["▁⁇▁", "⁇", "x▁", "ab", "[CLS]", "##▁", "[]", "<>", "[a", "İ"]


@given(st.lists(st.sampled_from(TRICKY), min_size=1, max_size=9))
def test_bare_labels_are_read_as_pyctcdecode_reads_them(labels: list[str]) -> None:
    theirs = pytest.importorskip("pyctcdecode.alphabet").Alphabet
    try:
        expected = theirs.build_alphabet(labels)
    except ValueError:
        with pytest.raises(UsageError):
            Alphabet.build(labels)
    else:
        assert json.loads(expected.dumps()) == {
            "labels": list(Alphabet.build(labels).labels),
            "is_bpe": Alphabet.build(labels).is_bpe,
        }


def test_a_vocabulary_declares_what_is_silent_and_nothing_is_guessed() -> None:
    """Bare labels would make ▁ a blank here, and <s> a text."""
    vocabulary = Vocabulary(("<pad>", "<s>", "<unk>", "|", "_", "A", "B"), 0, 3, frozenset({0, 1, 2}))
    alphabet = Alphabet.of(vocabulary)
    assert alphabet.labels == ("", "", "", " ", "_", "A", "B") and not alphabet.is_bpe
    assert alphabet.same() == (0, 0, 0, 3, 4, 5, 6)


def test_a_vocabulary_of_word_pieces_is_told_by_its_lack_of_a_delimiter() -> None:
    pieces = ("<pad>", "▁THE", "S")
    assert Alphabet.of(Vocabulary(pieces, 0, None, frozenset({0}))).is_bpe
    assert not Alphabet.of(Vocabulary((*pieces, "|"), 0, 3, frozenset({0}))).is_bpe


def test_labels_that_lower_case_makes_alike_stay_two_labels() -> None:
    """Else `Aa` would lose a letter as if it were one letter held."""
    alphabet = Alphabet.of(Vocabulary(("<pad>", "A", "a", "|", " "), 0, 3, frozenset({0}), lower_case=True))
    assert alphabet.labels == ("", "a", "a", " ", " ")
    assert alphabet.same() == (0, 1, 2, 3, 3)
    assert alphabet.same(compat=True) == (0, 1, 1, 3, 3)


@pytest.mark.parametrize("label", ["a b", "\t", "a\u00a0", "\u2028"])
def test_white_space_inside_a_label_is_refused_by_its_number(label: str) -> None:
    with pytest.raises(UsageError, match=r"label 1, .*white space"):
        Alphabet.build(["a", label, ""]).check()


def test_only_silent_marks_may_lie_beyond_the_emissions() -> None:
    alphabet = Alphabet.of(Vocabulary(("<pad>", "A", "|", "<s>", "</s>"), 0, 2, frozenset({0, 3, 4})))
    for width in (3, 4, 5):
        alphabet.check_width(width)
    for width in (0, 2, 6):
        with pytest.raises(UsageError, match=f"{width} columns but the alphabet 5 labels"):
            alphabet.check_width(width)


def test_a_blank_that_the_emissions_lack_is_not_made_up() -> None:
    """The blank is appended where no label is one: the logits need a column for it."""
    alphabet = Alphabet.build(["a", "b", " "])
    alphabet.check_width(4)
    with pytest.raises(UsageError, match="3 columns but the alphabet 4 labels"):
        alphabet.check_width(3)


@pytest.mark.parametrize(
    ("labels", "message"), [(["a", "a"], "'a' occurs twice"), (["▁a", " ", ""], "use either ▁ or the space")]
)
def test_what_cannot_be_an_alphabet_says_why(labels: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Alphabet.build(labels)
