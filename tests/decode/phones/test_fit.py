"""What of a lexicon fits a model: what does not is never found, so all of it must be told, with advice that helps."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.phones.fit import MOST_GUESSED, Fitted, fitted
from pipeline.demo.phones import LABELS, VOCABULARY
from pipeline.errors import UsageError
from pipeline.text.phone_map import parse_phone_map, phone_map_text
from pipeline.text.phone_spellings import Spellings
from pipeline.text.pronunciations import Entry, parse_lexicon
from pipeline.text.vocabulary import Vocabulary

ARPABET = """
    AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH
"""


def vocabulary(*phones: str, delimiter: bool = False) -> Vocabulary:
    labels = ("<pad>", "<s>", *(["|"] if delimiter else []), *phones)
    return Vocabulary(labels, 0, 2 if delimiter else None, frozenset({0, 1}), phonemes=True)


def fit(text: str, *phones: str, **options: object) -> Fitted:
    return fitted(parse_lexicon(text.encode(), "lexicon"), vocabulary(*phones), **options)


def test_a_lexicon_that_fits_is_its_labels_and_no_warning():
    found = fit("see s iː\nsea s iː\nread ɹ iː d\nread ɹ ɛ d\n", "s", "iː", "ɹ", "ɛ", "d")
    assert found.lexicon == (("see", (2, 3)), ("sea", (2, 3)), ("read", (4, 3, 6)), ("read", (4, 5, 6)))
    assert (found.num_words, found.num_phones, found.missing, found.warnings()) == (3, 5, (), [])


def test_what_cannot_be_emitted_is_counted_named_and_mended():
    text = "church t͡ʃ ɜː t͡ʃ\nchat t͡ʃ æ t\ncat k æ t\neither iː ð ɚ\neither øː ð ɚ\nuber yː b ɚ\n<unk> spn\n"
    phones = ("t", "tʃ", "ɚ", "æ", "k", "ð", "b", "iː")
    found = fit(text, *phones)
    assert [one.word for one in found.lexicon] == ["cat", "either"]
    assert (found.num_words, found.num_unreachable, found.num_narrowed, found.num_mended) == (5, 3, 1, 2)
    assert found.unreachable == ("church", "chat", "uber")
    assert [(one.phone, one.num_words, one.nearest) for one in found.missing] == [
        ("t͡ʃ", 2, ("tʃ",)), ("yː", 1, None), ("øː", 1, None), ("ɜː", 1, ("ɚ",)),
    ]  # fmt: skip
    fault, advice = found.warnings()
    assert "of 11 phones of the lexicon the model has no label for 4: t͡ʃ (in 2 words, as church), " in fault
    assert "3 of 5 words (60.00%) can never be found: church, chat, uber; 1 word with fewer ways to be said" in fault
    assert "2 of them could be found, if they are right: t͡ʃ tʃ | ɜː ɚ; " in advice
    # what is advised does what it says, by way of a file
    mended = fit(text, *phones, phone_map=parse_phone_map(phone_map_text(found.suggestion), "map"))
    assert (mended.num_unreachable, mended.num_narrowed) == (1, 1)
    assert "uber" in mended.warnings()[0] and len(mended.warnings()) == 1


def test_a_map_that_touches_no_phone_is_a_warning_even_where_all_fits():
    found = fit("see s iː\n", "s", "iː", phone_map={"S": ("s",)})
    (told,) = found.warnings()
    assert told.startswith("the phone map changes nothing: it maps S ...")
    assert fit("see s iː\n", "s", "iː", phone_map={"s": ("s",)}).warnings() == []


def test_a_phone_may_be_several_labels_and_none():
    mapping = {"t͡ʃ": ("t", "ʃ"), "ˈ": ()}
    found = fit("chat ˈ t͡ʃ æ t\n", "t", "ʃ", "æ", phone_map=mapping)
    assert found.lexicon == (("chat", (2, 3, 4, 2)),)
    silent = fit("chat æ t\nhm ˈ\n", "t", "æ", phone_map=mapping)
    assert silent.warnings() == [
        "the phone map leaves nothing of some words; 1 of 2 words (50.00%) can never be found: hm"
    ]


def test_what_becomes_equal_counts_once_and_is_no_loss():
    found = fit("the ð ə\nthe ð ɐ\n", "ð", "ə", phone_map={"ɐ": ("ə",)})
    assert found.lexicon == (("the", (2, 3)),)
    assert found.warnings() == []


def test_marks_may_be_encoded_either_way():
    composed, apart = unicodedata.normalize("NFC", "ã"), unicodedata.normalize("NFD", "ã")
    assert composed != apart
    assert fit(f"an {apart}\n", composed).lexicon == fit(f"an {composed}\n", apart).lexicon == (("an", (2,)),)
    both = fitted([Entry("an", (apart,)), Entry("on", (composed,))], vocabulary(composed, apart))
    assert both.lexicon == (("an", (3,)), ("on", (2,)))


def test_blanks_sentence_marks_and_the_delimiter_are_no_phones():
    """A word with one of them in it would be searched for where nothing is said."""
    found = fitted(
        [Entry("a", ("æ",)), Entry("b", ("|",)), Entry("c", ("<s>",)), Entry("d", ("<pad>",))],
        vocabulary("æ", delimiter=True),
    )
    assert (found.lexicon, found.num_unreachable) == ((("a", (3,)),), 3)


@pytest.mark.parametrize(
    ("entries", "mapping", "told"),
    [
        ([], {}, "the lexicon is empty"),
        ([Entry("<unk>", ("æ",)), Entry("<s>", ("æ",))], {}, "the lexicon is empty"),
        ([Entry("a", ("AE1",)), Entry("b", ("B",))], {}, "no word of the lexicon can be found with this model: of 2"),
        ([Entry("a", ("AE1",))], {}, "1 of them could be found, if they are right: AE1 æ; nightshift build-lexicon"),
        ([Entry("a", ("æ",))], {"æ": ("a:",)}, "makes a: of æ, for which the model has no label; near it: æ"),
        ([Entry("a", ("æ",))], {"æ": ("ø",)}, "the phone map makes ø of æ, for which the model has no label"),
        ([Entry("a", ("æ",))], {"æ": ()}, "can be found with this model: the phone map leaves nothing of some words"),
    ],
)
def test_what_cannot_work_is_one_error(entries, mapping, told):
    with pytest.raises(UsageError) as caught:
        fitted(entries, vocabulary("æ"), mapping)
    assert told in str(caught.value)


def test_lines_of_a_map_for_other_lexicons_do_no_harm():
    assert fit("a AE1\n", "æ", phone_map={"AE1": ("æ",), "XX": ("ø",)}).warnings() == []


def test_many_faults_are_told_in_few_words():
    lexicon = [Entry(f"w{number}", (f"x{number}", "æ")) for number in range(2000)]
    told = fitted([*lexicon, Entry("a", ("æ",))], VOCABULARY).warnings()
    assert "and 1,994 more; 2,000 of 2,001 words (99.95%)" in told[0]
    assert all(len(one) < 700 for one in told)


def test_many_missing_phones_are_not_guessed_at(monkeypatch):
    """A text given as a lexicon has thousands, each of which takes a millisecond; and there is nothing to advise."""
    asked = []
    nearest = Spellings.nearest
    monkeypatch.setattr(Spellings, "nearest", lambda self, phone: asked.append(phone) or nearest(self, phone))
    few = [Entry(f"w{number}", ("AE1", f"x{number}")) for number in range(MOST_GUESSED - 1)]
    found = fitted([*few, Entry("at", ("AE1", "t")), Entry("a", ("æ",))], VOCABULARY)
    assert len(asked) == len(set(asked)) == MOST_GUESSED and found.suggestion["AE1"] == ("æ",)
    asked.clear()
    many = fitted([*few, Entry("at", ("AE1", "xx")), Entry("a", ("æ",))], VOCABULARY)
    assert (asked, many.suggestion, len(many.missing)) == ([], {}, MOST_GUESSED + 1)
    assert len(many.warnings()) == 1


def test_lines_that_would_mend_nothing_are_no_advice():
    """Of each word a phone is left without a guess; of the last, a way to say it comes back."""
    hopeless = fit("church t͡ʃ yː\nuber yː b ɚ\nsee s\n", "tʃ", "ɚ", "s")
    assert hopeless.suggestion and hopeless.num_mended == 0 and len(hopeless.warnings()) == 1
    narrowed = fit("church t͡ʃ\nchurch tʃ s\n", "tʃ", "s")
    assert (narrowed.num_mended, narrowed.num_widened) == (0, 1)
    assert "| ends a line) 1 word could be said in more ways, if they are right: t͡ʃ tʃ; " in narrowed.warnings()[1]


# ---- the guesses


@pytest.mark.parametrize(
    ("phone", "nearest"),
    [
        # what the issue names: tie bars, length, stress, and the two r-coloured vowels
        ("t͡ʃ", "tʃ"), ("d͜ʒ", "dʒ"), ("ʧ", "tʃ"), ("ɔ̞", "ɔ"), ("sː", "s"), ("ɑ", "ɑː"), ("a:", "æ"), ("ˈɑː", "ɑː"),
        ("əː", "ə"), ("ɝ", "ɜː"), ("ɜ˞", "ɜː"), ("ɜ", "ɜː"), ("g", "ɡ"), ("Θ", "θ"),
        # CMUdict with and without stress, and TIMIT's lower case
        ("AH0", "ə"), ("AH1", "ʌ"), ("ER0", "ɚ"), ("ER1", "ɜː"), ("NG", "ŋ"), ("R", "ɹ"), ("Y", "j"),
        ("OW2", "oʊ"), ("ih", "ɪ"),
        # the aligner's English
        ("tʰ", "t"), ("aj", "aɪ"), ("ow", "oʊ"), ("ɫ", "l"), ("ɫ̩", "əl"), ("ʉː", "uː"), ("ɒː", "ɑː"), ("pʲ", "p"),
        # one phone of several labels
        ("ɜːɹ", "ɜː ɹ"), ("oːɹ", "oʊ ɹ"), ("nt", "n t"), ("m̩", "ə m"),
        # no guess is better than a wild one
        ("spn", None), ("SIL", None), ("ø", None), ("y", None), ("ʘ", None), ("x" * 1000, None),
    ],
)  # fmt: skip
def test_guesses_for_a_model_of_espeaks_phones(phone, nearest):
    assert Spellings(LABELS[4:]).nearest(phone) == (nearest and tuple(nearest.split()))


@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_espeaks_phones_have_a_guess_each_for_a_model_of_arpabet(change):
    spellings = Spellings(change(ARPABET).split())
    nearest = {phone: spellings.nearest(phone) for phone in LABELS[4:]}
    assert all(nearest.values())
    assert nearest["ʃ"] == (change("SH"),) and nearest["ɚ"] == (change("ER"),) and nearest["ɾ"] == (change("T"),)
    assert nearest["ɑːɹ"] == (change("AA"), change("R"))


PHONES = st.text(st.characters(codec="utf-8", exclude_characters=" \t\n\r\f\v#\0"), min_size=1, max_size=4)


@given(PHONES, st.lists(PHONES, max_size=5))
def test_a_guess_is_of_labels_and_a_label_is_itself(phone, labels):
    spellings = Spellings(labels)
    nearest = spellings.nearest(phone)
    assert nearest is None or (nearest and set(nearest) <= set(labels))
    if phone in labels:
        assert spellings.exact(phone) == phone


WORDS = st.lists(st.tuples(st.sampled_from("abcde"), st.lists(st.sampled_from("pqrstʃxyz"), min_size=1, max_size=4)))


@given(
    WORDS, st.sets(st.sampled_from("pqrstʃ"), min_size=1), st.dictionaries(st.sampled_from("stʃxyz"), st.just(("p",)))
)
def test_counts_are_those_of_looking_at_every_word(found, phones, mapping):
    """Against the plain definition: a word is reachable if all phones of one of its pronunciations are labels."""
    entries, phones = [Entry(word, tuple(said)) for word, said in found], {"p", *phones}
    ways = {word: [said for other, said in entries if other == word] for word, _ in entries}
    known = {phone for phone in "pqrstʃxyz" if phone in mapping or phone in phones}
    reachable = {word for word, of_word in ways.items() if any(known.issuperset(said) for said in of_word)}
    try:
        result = fitted(entries, vocabulary(*sorted(phones)), mapping)
    except UsageError:
        assert not reachable
        return
    assert {one.word for one in result.lexicon} == reachable
    assert (result.num_words, result.num_unreachable) == (len(ways), len(ways) - len(reachable))
    narrowed = [word for word in reachable if not all(known.issuperset(said) for said in ways[word])]
    assert result.num_narrowed == len(narrowed)
    assert {one.phone for one in result.missing} == {phone for _, said in entries for phone in said} - known
