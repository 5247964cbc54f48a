"""Looking up in a sorted table without holding it: no key may be missed, whatever the order of either side."""

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.sources.keyed import Keyed

KEYS = st.text("abé\U0001f600", max_size=3)


@given(st.dictionaries(KEYS, st.integers()), st.lists(KEYS), st.booleans(), st.booleans())
def test_it_answers_as_a_dictionary_would(table, asked, sort_table, sort_asked) -> None:
    items = sorted(table.items()) if sort_table else list(table.items())
    keyed = Keyed(lambda: iter(items), "t")
    for key in sorted(asked) if sort_asked else asked:
        assert keyed.get(key) == table.get(key)
    assert keyed.num_rows == len(table)
    assert keyed.num_used == len(table.keys() & set(asked))


def test_what_is_sorted_is_not_held() -> None:
    held = 0

    class Value:
        def __init__(self) -> None:
            nonlocal held
            held += 1

        def __del__(self) -> None:
            nonlocal held
            held -= 1

    def rows() -> Iterator[tuple[str, Value]]:
        return ((f"{number:05d}", Value()) for number in range(1000))

    keyed = Keyed(rows, "t")
    for number in range(0, 1000, 3):
        assert keyed.get(f"{number:05d}") is not None
        assert held <= 3


@pytest.mark.parametrize("keys", ["aab", "aba"])
def test_a_key_that_is_there_twice_is_named(keys: str) -> None:
    with pytest.raises(UsageError, match="t: a twice"):
        Keyed(lambda: ((key, 0) for key in keys), "t")


def test_what_was_asked_for_is_counted_without_being_held() -> None:
    """Of ten million recordings a set of their names is 1.7 GB."""
    names = [f"{number:060d}" for number in range(20_000)]
    keyed = Keyed(lambda: ((name, 0) for name in names), "t")
    tracemalloc.start()
    for name in names:
        keyed.get(f"{name}")
        keyed.get(f"{name}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert keyed.num_used == 20_000 and peak < 100_000
