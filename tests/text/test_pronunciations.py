"""Lexicon files: a misread line is a word that is never found, or one that sounds like another, and nothing tells."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import gzip

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.text.lines import contents
from pipeline.text.pronunciations import Entry, is_writable, lexicon_text, packed, parse_lexicon


def parsed(text: str) -> list[tuple[str, str]]:
    return [(word, " ".join(phones)) for word, phones in parse_lexicon(text.encode(), "lexicon")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # CMUdict 0.7: comments, two spaces, variants from (1) or (2) on, words of odd signs
        (";;; # CMUdict\nREAD  R EH1 D\nREAD(1)  R IY1 D\n", [("READ", "R EH1 D"), ("READ", "R IY1 D")]),
        ("'BOUT  B AW1 T\n!POINT  P OY1\n(E  P ER1\n", [("'BOUT", "B AW1 T"), ("!POINT", "P OY1"), ("(E", "P ER1")]),
        # the newer cmudict.dict: one space, comments behind
        ("aalborg AO1 L B AO0 R G # place,\tdanish\na(2) EY1\n", [("aalborg", "AO1 L B AO0 R G"), ("a", "EY1")]),
        # the aligner's: a tab, then no, one or four probabilities
        ("the\tð ə\nthe\tð iː\n", [("the", "ð ə"), ("the", "ð iː")]),
        ("the\t0.99\tð ə\n", [("the", "ð ə")]),
        ("the\t0.99\t0.17\t1.0\t1.12\tð ə\nthe\t1\t0\t1e-3\t1\tð iː\n", [("the", "ð ə"), ("the", "ð iː")]),
        # Kaldi's lexiconp.txt, and tones, which are no probabilities
        ("the 1.0 ð ə\nthe 0.5 ð iː\nma m a 1\n", [("the", "ð ə"), ("the", "ð iː"), ("ma", "m a 1")]),
        ("ma\t1\n", [("ma", "1")]),
        # white space of all kinds around and between; tabs between phones
        ("  the \t ð  ə \r\n", [("the", "ð ə")]),
        ("the\tð\tə\n", [("the", "ð ə")]),
        ("\ufeffthe ð ə\r\n\r\n   \n# note\n#note\nof ʌ v", [("the", "ð ə"), ("of", "ʌ v")]),
        # words that begin as other files do
        ("RIFF R IH F\n[1] W AH N\n{} K ER L IY\n", [("RIFF", "R IH F"), ("[1]", "W AH N"), ("{}", "K ER L IY")]),
        ("[1] W AH N\n", [("[1]", "W AH N")]),
        ("naïve\tn aɪ\u0308 v\n", [("naïve", "n aɪ\u0308 v")]),
        # the same entry twice counts once, in the order of the file
        ("b B\na A\nb B\nb(2) B\nb(3) P\n", [("b", "B"), ("a", "A"), ("b", "P")]),
        ("x(2) EH K S\n(2) T UW\n", [("x", "EH K S"), ("(2)", "T UW")]),
    ],
)  # fmt: skip
def test_every_style_is_read(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "lexicon: no word in it; a line of a lexicon is a word and its phones"),
        (b";;; nothing\n\n# here\n", "lexicon: no word in it"),
        (b"the DH AH\nof\n", "lexicon line 2: 'of' has no phones"),
        (b"the\t0.5\t\n", "lexicon line 1: 'the' has no phones"),
        (b"the # DH AH\nof AH V\n", "lexicon line 1: 'the' has no phones"),
        (b"the # DH AH\nof\n", "lexicon: words without phones, not a lexicon; nightshift build-lexicon lexicon OUT"),
        (
            b"mmap lm http://kheafield.com/code format version 5\n\0\xff",
            "lexicon: a language model, not a lexicon; nig",
        ),
        (
            gzip.compress(b"\n\\data\\\nngram 1=3\n", mtime=0),
            "lexicon: a language model, not a lexicon; nightshift build-lexicon",
        ),
        (b"fLaC\0\0\0\x22\x10\0\xff", "lexicon: audio (FLAC), where lines of text are expected"),
        (b'{\n  "a": 1,\n  "b": 2\n}\n', "lexicon: JSON, where lines of text are expected"),
        (b'{"a": 1}\n{"a": 2}\n', "lexicon: JSON, where lines of text are expected"),
        (b"\x7fELF\xff\0", "lexicon: a binary file, where lines of text are expected"),
        (b"the DH\n \tDH AH\n", "lexicon line 2: no word before the tab"),
        (b"New York\tN UW\n", "lexicon line 1: a word with white space in it, 'New York'"),
        ("a\u00a0b  EY1\n".encode(), "lexicon line 1: a word with white space in it, 'a\\xa0b'"),
        (b"the DH\nD\xc9J\xc0  D EY\n", "lexicon line 2: not UTF-8 (invalid continuation byte); convert it"),
        ("the DH\n".encode("utf-16"), "lexicon: UTF-16, not UTF-8"),
        (b"the DH\na\0b B\n", "lexicon line 2: a NUL byte"),
        (gzip.compress(b"the DH AH\n", mtime=0)[:-9], "lexicon: a damaged gzip file"),
        (gzip.compress(b"the DH AH\n", mtime=0)[:12] + b"\xff" * 20, "lexicon: a damaged gzip file"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(data, told):
    with pytest.raises(UsageError) as caught:
        parse_lexicon(data, "lexicon")
    assert str(caught.value).startswith(told)


def test_files_are_read_by_path_and_url_plain_and_gzipped(tmp_path, monkeypatch):
    plain, entries = b"the DH AH\n", [Entry("the", ("DH", "AH"))]
    (tmp_path / "plain.dict").write_bytes(plain)
    (tmp_path / "packed.dict").write_bytes(gzip.compress(plain))  # told by its contents
    fsspec.filesystem("memory").pipe("/lexicons/a.gz", packed(plain, "a.gz"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for location in (str(tmp_path / "plain.dict"), "~/packed.dict", "memory://lexicons/a.gz"):
        assert parse_lexicon(contents(location, "lexicon"), location) == entries
    for location in (str(tmp_path / "nowhere"), "memory://lexicons/nowhere"):
        with pytest.raises(UsageError, match=r"lexicon .*nowhere: missing file"):
            contents(location, "lexicon")
    with pytest.raises(UsageError, match="a folder"):
        contents(str(tmp_path), "lexicon")


SIGNS = st.characters(codec="utf-8") | st.sampled_from("#;() \t\n\r\x0b\x0c\x1c\x85\u2028\ufeff0123456789.a")
TEXTS = st.text(SIGNS, min_size=1, max_size=6)
PHONES = st.text(st.characters(codec="utf-8", exclude_characters="#\0 \t\n\r\f\v"), min_size=1, max_size=3)


@given(st.lists(st.tuples(TEXTS.filter(is_writable), st.lists(PHONES, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_what_is_written_is_read_again(found):
    """Words that a lexicon cannot hold (comments, white space, numbered) are told apart before they are written."""
    entries = [Entry(word, tuple(phones)) for word, phones in found]
    assert parse_lexicon(lexicon_text(entries), "") == list(dict.fromkeys(entries))


@given(TEXTS)
def test_no_word_is_turned_away_that_would_be_read_again(word):
    entry = Entry(word, ("a",))
    try:
        read = parse_lexicon(lexicon_text([entry]), "")
    except UsageError:
        read = []
    assert is_writable(word) == (read == [entry])


def test_bytes_that_are_no_text_are_not_written():
    """A language model's words may hold any bytes."""
    assert not is_writable(b"caf\xe9".decode("utf-8", "surrogateescape"))


@given(st.binary(max_size=60) | st.text(SIGNS, max_size=40).map(str.encode))
def test_hostile_files_are_entries_or_a_usage_error(data):
    try:
        entries = parse_lexicon(data, "lexicon")
    except UsageError:
        return
    assert entries
    assert all(word and phones and all(phones) for word, phones in entries)
