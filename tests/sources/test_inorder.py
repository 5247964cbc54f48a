"""Streams that run ahead of their taker: nothing lost, nothing out of order, no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.inorder import NUM_QUEUED, in_order


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("list")]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3 * NUM_QUEUED), max_size=12), st.integers(1, 5), st.integers(1, 4))
def test_every_item_comes_once_in_order_even_if_some_streams_are_not_taken(
    lengths: list[int], num_at_once: int, taken: int
) -> None:
    streams = in_order(list(enumerate(lengths)), lambda one: iter([one[0]] * one[1]), num_at_once)
    seen = []
    for (number, length), stream in streams:
        got = list(stream) if number % taken == 0 else [item for item, _ in zip(stream, range(1), strict=False)]
        assert got == [number] * (length if number % taken == 0 else min(length, 1))
        seen.append(number)
    assert seen == list(range(len(lengths)))
    assert not threads()


@pytest.mark.parametrize("num_at_once", [1, 3])
def test_what_a_stream_raises_is_raised_where_it_is_taken(num_at_once: int) -> None:
    def stream(number: int) -> Iterator[int]:
        yield number
        if number == 1:
            raise LookupError("of the second")
        yield number

    seen: list[int] = []

    def take() -> None:
        for _, items in in_order(range(5), stream, num_at_once):
            seen.extend(items)

    with pytest.raises(LookupError, match="of the second"):
        take()
    assert seen == [0, 0, 1]
    assert not threads()


def test_no_more_run_ahead_than_may_and_none_after_the_end() -> None:
    made: list[tuple[int, int]] = []

    def stream(number: int) -> Iterator[int]:
        for item in range(100):
            made.append((number, item))
            yield item

    streams = in_order(range(50), stream, 3)
    _, first = next(streams)
    assert next(first) == 0
    streams.close()  # type: ignore[attr-defined]
    assert not threads()
    assert {number for number, _ in made} <= {0, 1, 2}
    assert max(item for _, item in made) <= NUM_QUEUED + 1
