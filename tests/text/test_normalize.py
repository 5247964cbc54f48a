# ruff: noqa: RUF001  (texts of many scripts are what this is about)
"""Normalisers: the English one against the library whose rules it follows, the others against Unicode itself."""

import itertools
import pickle
import sys
import unicodedata
from importlib import util
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.text import normalize
from pipeline.text.normalize import Normalizer, normalizer

NAMES = ["none", "basic", "unicode", "english"]
HOSTILE = [
    "",
    " \t\n\u2028\u3000 ",
    "?!... --- ''' \"\" ،؟。、",
    "\ud800\udfff x",
    "\x00\x1b[0m\x07",
    "👍🏽👩‍👩‍👧 1️⃣ 🇬🇧",
    "\u202eשלום\u202c \u200fعالم",
    "a" + "\u0301" * 50,
    "\u0301 ́ \u0308",
    "ﷺ ﷽ ㍿ ㌔",
    "0" * 5000 + " and a half",
    "<[(" * 50,
]

needs_library = pytest.mark.skipif(
    util.find_spec("whisper_normalizer") is None, reason="whisper-normalizer is not installed"
)


@pytest.fixture(scope="module")
def whisper() -> Any:
    return pytest.importorskip("whisper_normalizer.english").EnglishTextNormalizer()


# ---- as values


def test_names_compose_and_print() -> None:
    """The risk: a configuration that does not say what was done."""
    both = normalizer("basic") | normalizer("unicode")
    assert str(both) == "basic | unicode" and normalizer(str(both)) == both == normalizer(" basic|unicode ")
    assert both("ＡB.") == normalizer("unicode")(normalizer("basic")("ＡB.")) == "ab"
    assert normalizer("none") == Normalizer() and str(Normalizer()) == "none" and Normalizer()(" A ") == " A "
    assert normalizer("none") | normalizer("basic") == normalizer("none | basic") == normalizer("basic")
    assert {normalizer("basic"): 1}[normalizer("basic")] == 1
    assert pickle.loads(pickle.dumps(both)) == both


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("englsh", "no normalizer is called 'englsh'; did you mean english?"),
        ("qqq", "'qqq'; known: none, basic, english, unicode"),
        ("", "no normalizer is called ''"),
        ("basic |", "no normalizer is called ''"),
        ("Basic", "did you mean basic?"),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalizer(name)
    assert message in str(caught.value)


def test_without_the_library_english_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: a run that fails at its last stage, hours after it could have said so."""
    monkeypatch.setitem(sys.modules, "whisper_normalizer", None)
    monkeypatch.setattr(normalize.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install whisper-normalizer"):
        normalizer("unicode | english")
    assert normalizer("unicode")("A") == "a"


@needs_library
def test_the_version_says_what_decides() -> None:
    """The risk: scores of two versions of the rules compared as if they were of one."""
    from importlib.metadata import version

    assert normalizer("none").version == ""
    assert normalizer("basic").version == normalizer("unicode").version == f"unicode {unicodedata.unidata_version}"
    assert normalizer("basic | english").version.endswith(f", whisper-normalizer {version('whisper-normalizer')}")


# ---- what they do


@pytest.mark.parametrize(
    ("text", "basic", "unicode"),
    [
        ("Don't  STOP—now!", "don't stop now", "don't stop now"),
        ("It’s ‘so’, rock 'n' roll; dogs'", "it's so rock n roll dogs", "it's so rock n roll dogs"),
        ("3.5 and 1,000. e.g. .5", "3.5 and 1,000 e g 5", "3.5 and 1,000 e g 5"),
        ("$5 + 50% <b> e-mail_x", "5 50 b e mail x", "5 50 b e mail x"),
        ("Straße ΣΊΣΥΦΟΣ", "straße σίσυφος", "strasse σίσυφοσ"),
        ("İstanbul IŞIK ışık", "i̇stanbul işik ışık", "istanbul işik ışık"),
        ("cafe\u0301 \ufb01n ２５ 1½", "cafe\u0301 \ufb01n ２５ 1½", "café fin 25 1 1 2"),
        ("col·lega · l·", "col·lega l", "col·lega l"),
        ("М’ята мʼята ʼa", "м'ята мʼята ʼa", "м'ята м'ята ʼa"),
        ("हिन्दी में क्षेत्र।", "हिन्दी में क्षेत्र", "हिन्दी में क्षेत्र"),
        ("தமிழ் తెలుగు ಕನ್ನಡ മലയാളം", "தமிழ் తెలుగు ಕನ್ನಡ മലയാളം", "தமிழ் తెలుగు ಕನ್ನಡ മലയാളം"),
        ("اَلْعَرَبِيَّةُ، كـــتاب ٣٫٥؟", "اَلْعَرَبِيَّةُ كـــتاب ٣.٥", "اَلْعَرَبِيَّةُ كتاب ٣.٥"),
        ("می\u200cخواهم \u202bکتاب\u202c", "می\u200cخواهم \u202bکتاب\u202c", "میخواهم کتاب"),
        ('שָׁלוֹם צה״ל צה"ל ג׳ז ב־מ', "שָׁלוֹם צה״ל צה ל ג'ז ב מ", "שָׁלוֹם צה״ל צה״ל ג'ז ב מ"),
        ("ไทย\u200bครับ ກໍ່ သည်။", "ไทย\u200bครับ ກໍ່ သည်", "ไทย ครับ ກໍ່ သည်"),
        ("日本語・テスト。「ﾊﾟ」", "日本語 テスト ﾊﾟ", "日本語 テスト パ"),
        ("한국어\u1112\u1161\u11ab", "한국어\u1112\u1161\u11ab", "한국어한"),
        ("co\u00adop 👍🏽 1️⃣ ´a ﷽", "co\u00adop 1️⃣ a", "coop 1 a"),
    ],
)
def test_texts_become(text: str, basic: str, unicode: str) -> None:
    """The risk: words lost or torn apart in scripts whose letters are more than letters."""
    normal = unicodedata.normalize
    assert normal("NFC", normalizer("basic")(text)) == normal("NFC", basic)
    assert normalizer("unicode")(text) == normal("NFC", unicode)


# One of a combining class or category that stands for vowels, viramas or accents, in scripts that have such.
MARKS = [
    char
    for char in map(chr, itertools.chain(range(0x300, 0x34F), range(0x483, 0x488), range(0x591, 0x1C00)))
    if unicodedata.category(char) in ("Mn", "Mc") and not 0x17B4 <= ord(char) <= 0x17B5
    if not 0x180B <= ord(char) <= 0x180F and ord(char) != 0x345  # an iota, in the end
]


def test_no_mark_of_any_script_is_destroyed() -> None:
    """The risk: vowels and viramas removed as accents, which Whisper's own basic normaliser does."""
    assert len(MARKS) > 700
    for mark in MARKS:
        for name in ("basic", "unicode"):
            word = f"\u0915{mark}"  # on a letter that few of them make one character with
            assert unicodedata.normalize("NFKC", normalizer(name)(word)) == unicodedata.normalize("NFKC", word)


texts = st.text(max_size=40) | st.text(st.characters(categories=["L", "M", "P", "S", "Cf", "Zs"]), max_size=20)


@given(texts)
@settings(max_examples=600, deadline=None)
def test_what_has_been_normalised_stays(text: str) -> None:
    """The risk: a score that depends on how often the text has been through it."""
    for name in ("basic", "unicode"):
        once = normalizer(name)(text)
        assert normalizer(name)(once) == once


@given(texts)
@settings(max_examples=300, deadline=None)
def test_texts_that_unicode_calls_equal_are_equal(text: str) -> None:
    """The risk: a transcript counted wrong for how its letters are encoded."""
    unicode = normalizer("unicode")
    for form in ("NFC", "NFD"):
        assert unicode(unicodedata.normalize(form, text)) == unicode(text)
    assert unicode(text.casefold()) == unicode(text)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_what_is_left_is_words(text: str) -> None:
    """The risk: punctuation, invisible characters or double spaces that a score would count."""
    for name in ("basic", "unicode"):
        found = normalizer(name)(text)
        assert found == " ".join(found.split())
        left = {char for char in found if unicodedata.category(char)[0] in "PS"}
        assert left <= set("'·״.,")
    assert not {char for char in normalizer("unicode")(text) if unicodedata.category(char) in ("Cf", "Me", "Cc", "Cs")}


# ---- english

WORDS = (
    "one two ten eleven twenty hundred thousand billionth first hundreds point and a half double triple oh zero o "
    "minus plus dollars cents percent per cent pounds 1 0 3.5 1,000 $ $5 20% ¢ £0.50 th st s . , ' it's um uh mr. "
    "can't colour grey we'll ٣ ² ½ .5 5. (x) [laughs] <eps> ( [ won't o'clock the U.S.A. naïve Ångström"
)
SPOKEN = st.lists(st.sampled_from(WORDS.split()), max_size=10).map(" ".join)


@given(text=SPOKEN | st.text(max_size=30))
@settings(max_examples=600, deadline=None)
def test_english_is_what_the_library_says(whisper: Any, text: str) -> None:
    """The risk: figures that cannot be compared with a leaderboard's."""
    assert normalizer("english")(text) == " ".join(whisper(text).split())


@needs_library
def test_english_normalises_what_it_is_for() -> None:
    """The risk: the library's rules changed under us; and what they are not: idempotent."""
    english = normalizer("english")
    said = "Um, I'll pay Mr. Smith twenty-five dollars [coughs] for the grey colour"
    assert english(said) == "i will pay mister smith $25 for the gray color"
    assert english("ten th") == "10 th" and english(english("ten th")) == "10th"


@needs_library
def test_english_outlives_what_stops_the_library(whisper: Any) -> None:
    """The risk: one recording's text that ends a run, or holds it for minutes."""
    with pytest.raises(AssertionError):
        whisper("9" * 5000)
    english = normalizer("english")
    assert english("nine " + "9" * 5000).startswith("9 9999")
    for text in ("(" * 400_000, "<[" * 200_000, " " * 400_000):  # ten minutes each, and so past any time limit
        assert english(f"a {text} b") == "a b"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(name: str, text: str) -> None:
    """The risk: an exception or a hang where a dataset has strange references."""
    if name == "english":
        pytest.importorskip("whisper_normalizer")
    found = normalizer(name)(text)
    assert isinstance(found, str)
    assert name == "none" or found == " ".join(found.split())
