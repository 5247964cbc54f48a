"""The phone map: a line misread says a phone by another, and no word with it is found again."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.text.phone_map import map_lines, mapped_phones, parse_phone_map, phone_map_text, read_phone_map, untouched


def test_phones_are_renamed_split_and_left_out():
    mapping = parse_phone_map("\ufeff# ARPAbet\r\nAH0 ə  # weak\nt͡ʃ\tt ʃ\n\nˈ\n".encode(), "map")
    assert mapping == {"AH0": ("ə",), "t͡ʃ": ("t", "ʃ"), "ˈ": ()}
    assert mapped_phones(("ˈ", "t͡ʃ", "AH0", "AH1"), mapping) == ("t", "ʃ", "ə", "AH1")


def test_a_phone_that_is_mapped_is_not_mapped_again():
    """Else two phones could not change places."""
    assert mapped_phones(("e", "ɛ"), {"e": ("ɛ",), "ɛ": ("e",)}) == ("ɛ", "e")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"a b\nc d\na e\n", "map line 3: a is mapped otherwise in line 1; keep one"),
        (b"a b\na\n", "map line 2: a is mapped otherwise in line 1"),
        (b"a b\na \xff\n", "map line 2: not UTF-8"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(data, told):
    with pytest.raises(UsageError) as caught:
        parse_phone_map(data, "map")
    assert str(caught.value).startswith(told)


def test_a_map_of_another_lexicons_phones_is_told():
    assert untouched({"AH0": ("ə",), "B": ("b",)}, {"ə", "b"}) == (
        "the phone map changes nothing: it maps AH0 B ..., but the lexicon has b ə ...; is it for another one?"
    )
    assert untouched({"AH0": ("ə",), "B": ("b",)}, {"B", "ə"}) is untouched({}, {"ə"}) is None


def test_a_map_may_be_empty():
    """It is what is written for a lexicon that fits."""
    assert parse_phone_map(phone_map_text({}), "map") == parse_phone_map(b"# a b\n", "map") == {}


def test_the_same_line_twice_is_no_fault():
    assert parse_phone_map(b"a b c\na  b\tc\n", "map") == {"a": ("b", "c")}


def test_files_are_read_by_path(tmp_path):
    (tmp_path / "map.gz").write_bytes(gzip.compress(b"a b\n"))
    assert read_phone_map(str(tmp_path / "map.gz")) == {"a": ("b",)}
    with pytest.raises(UsageError, match=r"phone map .*nowhere: missing file"):
        read_phone_map(str(tmp_path / "nowhere"))


PHONES = st.text(st.characters(codec="utf-8", exclude_characters="#;\0 \t\n\r\f\v\ufeff"), min_size=1, max_size=3)


@given(st.dictionaries(PHONES, st.lists(PHONES, max_size=3).map(tuple), max_size=6))
def test_what_is_written_is_read_again(mapping):
    assert parse_phone_map(phone_map_text(mapping), "") == mapping
    assert parse_phone_map("\n".join(map_lines(mapping)).encode(), "") == mapping
