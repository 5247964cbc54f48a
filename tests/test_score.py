"""Error counts against jiwer and rapidfuzz, on texts with every kind of white space; of phones against phonemizer."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from pipeline.config import ScoreConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import ErrorCounts, Phone, Recording, Word
from pipeline.score import Scorer, ScoreSettings, count_characters, count_words, settle, unheard, without_effect
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

LETTERS = Vocabulary(("<pad>", "|", "A"), 0, 1, frozenset({0}))
PHONEMES = Vocabulary(("<pad>", "h", "ə", "l", "oʊ"), 0, None, frozenset({0}), phonemes=True)

WORDS = st.lists(st.sampled_from(["A", "I", "THE", "THERE", "é", "e\u0301", "中文", "I'M"]), max_size=8)
SPACE = st.sampled_from([" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\r\n"])


@st.composite
def spaced(draw: st.DrawFn) -> tuple[list[str], str]:
    """Words, and a text of them with white space of any kind and number around them."""
    words = draw(WORDS)
    return words, draw(SPACE) + "".join(word + draw(SPACE) for word in words)


@given(spaced(), spaced())
def test_words_are_counted_as_jiwer_counts_them_one_space_apart(
    reference: tuple[list[str], str], hypothesis: tuple[list[str], str]
) -> None:
    (reference_words, reference_text), (hypothesis_words, hypothesis_text) = reference, hypothesis
    counts = count_words(reference_text, hypothesis_text)
    jiwers = jiwer.process_words(" ".join(reference_words), " ".join(hypothesis_words))
    assert counts == ErrorCounts(jiwers.hits, jiwers.substitutions, jiwers.deletions, jiwers.insertions)
    assert counts.num_errors == Levenshtein.distance(reference_words, hypothesis_words)
    assert counts.num_reference == len(reference_words)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis_words)


@given(spaced(), spaced())
def test_characters_are_counted_with_one_space_between_words(
    reference: tuple[list[str], str], hypothesis: tuple[list[str], str]
) -> None:
    wanted, heard = " ".join(reference[0]), " ".join(hypothesis[0])
    counts = count_characters(reference[1], hypothesis[1])
    assert counts.num_errors == Levenshtein.distance(wanted, heard)
    assert counts.num_reference == len(wanted)
    assert counts.hits + counts.substitutions + counts.insertions == len(heard)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorCounts()),
        ("", "A B", ErrorCounts(insertions=2)),
        ("A B", "", ErrorCounts(deletions=2)),
        (" \u3000\n", "A", ErrorCounts(insertions=1)),
        ("A", "A", ErrorCounts(hits=1)),  # jiwer's command line drops lines of one letter
        ("I", "A", ErrorCounts(substitutions=1)),
    ],
)
def test_nothing_and_next_to_nothing_are_counted(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert count_words(reference, hypothesis) == expected


def test_only_what_was_heard_and_has_a_reference_is_scored() -> None:
    failed = Recording("failed", "x", reference="A")
    failed.fail("read", RecordingError("not audio"))
    heard, unknown = Recording("heard", "x", reference="A B", text="A"), Recording("unknown", "x", text="A")
    silent = Recording("silent", "x", reference="A", text="")
    Scorer(ScoreSettings())(Unit(0, [failed, heard, unknown, silent]))
    assert (failed.word_errors, unknown.word_errors, unknown.char_errors) == (None, None, None)
    assert heard.word_errors == ErrorCounts(hits=1, deletions=1)
    assert heard.char_errors == ErrorCounts(hits=1, deletions=2)
    assert silent.word_errors == ErrorCounts(deletions=1)  # hearing nothing is an error, not an absence


# ---- normalised


def test_both_sides_are_normalised_and_the_texts_stay_as_they_are() -> None:
    row = Recording("a", "a", reference="Hello,  World!", text="HELLO WORD")
    Scorer(settle(ScoreConfig(normalizer="basic"), LETTERS))(Unit(0, [row]))
    assert row.word_errors == ErrorCounts(hits=1, substitutions=1)
    assert row.char_errors == ErrorCounts(hits=10, deletions=1)
    assert (row.reference, row.text) == ("Hello,  World!", "HELLO WORD")


def test_a_normaliser_that_there_is_not_is_refused_before_the_run_and_another_version_of_it_in_the_run() -> None:
    with pytest.raises(UsageError, match="bassic"):
        settle(ScoreConfig(normalizer="bassic"), LETTERS)
    with pytest.raises(UsageError, match=r"was started with unicode 0, here is unicode .*; install the same"):
        Scorer(ScoreSettings("basic", "unicode 0"))
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    with pytest.raises(UsageError, match=r"language = de: the run was started with phonemizer 0, here is phonemizer "):
        Scorer(ScoreSettings(language="de", phonemizer="phonemizer 0"))


# ---- phones


def heard_as(phones: str, reference: str | None, words: list[Word] | None = None) -> Recording:
    said = [Phone(phone, 0.0, 0.1, 0.9) for phone in phones.split()]
    text = phones if words is None else " ".join(word.word for word in words)
    return Recording("a", "a", reference=reference, text=text, phones=said, words=words)


@pytest.fixture
def english() -> Scorer:
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    return Scorer(settle(ScoreConfig(language="en-us"), PHONEMES))


def test_phones_are_compared_with_those_of_the_reference_and_never_with_its_spelling(english: Scorer) -> None:
    rows = [heard_as("h ə l l", "hello"), heard_as("h", None), heard_as("", "hello"), heard_as("h ə", "")]
    english(Unit(0, rows))
    assert [row.reference_phones for row in rows] == ["h ə l oʊ", None, "h ə l oʊ", ""]
    assert [row.phone_errors for row in rows] == [
        ErrorCounts(hits=3, substitutions=1),
        None,
        ErrorCounts(deletions=4),
        ErrorCounts(insertions=2),
    ]
    assert {(row.word_errors, row.char_errors) for row in rows} == {(None, None)}


def test_capitals_are_said_as_words(english: Scorer) -> None:
    """espeak spells IT and WAS out, and most corpora are in capitals."""
    rows = [heard_as("", "IT WAS US"), heard_as("", "it was us")]
    english(Unit(0, rows))
    assert rows[0].reference_phones == rows[1].reference_phones


def test_references_are_said_as_phonemizer_says_them(english: Scorer) -> None:
    backend = pytest.importorskip("phonemizer.backend", reason="phonemizer is not installed")
    loader = pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    wrapper = pytest.importorskip("phonemizer.backend.espeak.wrapper").EspeakWrapper
    wrapper.set_library(loader.get_library_path())
    wrapper.set_data_path(loader.get_data_path())
    separator = pytest.importorskip("phonemizer.separator", reason="phonemizer is not installed").Separator
    texts = ["the night shift begins at ten", "can't, won't: 25 people", "garçon", "..."]
    said = backend.EspeakBackend("en-us", language_switch="remove-flags").phonemize(
        texts, separator=separator(phone=" ", word="", syllable="")
    )
    rows = [heard_as("ə", text) for text in texts]
    english(Unit(0, rows))
    assert [row.reference_phones for row in rows] == [" ".join(phones.split()) for phones in said]


def test_words_of_a_lexicon_are_counted_as_words_and_their_phones_as_phones(english: Scorer) -> None:
    row = heard_as("h ə l oʊ", "hello hello", [Word("hello", 0.0, 0.4, 0.9)])
    english(Unit(0, [row]))
    assert row.word_errors == ErrorCounts(hits=1, deletions=1)
    assert row.char_errors == ErrorCounts(hits=5, deletions=6)
    assert row.phone_errors == ErrorCounts(hits=4, deletions=4)


def test_what_a_model_of_letters_says_is_never_said_by_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.text.espeak._asked", refuse)
    config = ScoreConfig(language="en-us")
    row = Recording("a", "a", reference="A", text="A", words=[])
    Scorer(settle(config, LETTERS))(Unit(0, [row]))
    assert (row.reference_phones, row.phone_errors, row.word_errors) == (None, None, ErrorCounts(hits=1))
    assert settle(config, LETTERS) == settle(ScoreConfig(), LETTERS)  # and so the run may be resumed without it
    assert without_effect(ScoreSettings(), config, PHONEMES, False) == []
    assert without_effect(ScoreSettings(), ScoreConfig(), LETTERS, True) == []
    (told,) = without_effect(ScoreSettings(), config, LETTERS, True)
    assert told.startswith("score.language without effect")


def test_a_normaliser_of_phones_is_told_to_do_nothing() -> None:
    settings = ScoreSettings("basic")
    config = ScoreConfig(normalizer="basic")
    assert without_effect(settings, config, PHONEMES, True) == []
    assert without_effect(settings, ScoreConfig(), PHONEMES, False) == []  # taken from a run, nobody asked for it
    (told,) = without_effect(settings, config, PHONEMES, False)
    assert told == "score.normalizer without effect: the model writes phonemes, and without a lexicon no words"


def test_none_may_be_said_outright() -> None:
    config = ScoreConfig(language="none", normalizer="none")
    for vocabulary in (LETTERS, PHONEMES):
        assert settle(config, vocabulary) == settle(ScoreConfig(), vocabulary) == ScoreSettings()
        assert without_effect(ScoreSettings(), config, vocabulary, False) == []


def test_a_run_of_a_version_without_normalisers_is_another_only_where_there_is_one() -> None:
    """Such a run names no score settings, and must be resumed."""
    assert not any(ScoreSettings().that_shape_results().values())
    assert ScoreSettings("basic", "1").that_shape_results()["score.normalizer"] == "basic (1)"


def test_a_language_that_cannot_be_said_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    with pytest.raises(UsageError, match=r"^score\.language = en-uk: .*no language 'en-uk'"):
        settle(ScoreConfig(language="en-uk"), PHONEMES)


def test_phones_that_no_label_is_are_told_with_their_share() -> None:
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    english = settle(ScoreConfig(language="en-us"), PHONEMES)
    assert unheard(english, PHONEMES, ["hello", "HELLO"]) == unheard(ScoreSettings(), PHONEMES, ["cat"]) == []
    (told,) = unheard(english, PHONEMES, ["hello", "cat"])  # h ə l oʊ k æ t
    assert "42.9% of the references' phones, such as k, æ, t, are no labels of the model" in told
    assert unheard(english, PHONEMES, []) == unheard(english, PHONEMES, [""]) == []
