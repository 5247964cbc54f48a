"""Chunks and what is kept of them, against transformers' own arithmetic."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.pipelines.automatic_speech_recognition import chunk_iter, rescale_stride

from pipeline.errors import UsageError
from pipeline.tasks.chunks import Chunk, Chunking

STEP = 320


def theirs(num_samples: int, chunking: Chunking) -> list[Chunk]:
    """Each sample is its own place, so that it can be seen which are where."""

    def extract(samples: Any, **options: Any) -> dict[str, Any]:
        return {"first": int(samples[0]), "last": int(samples[-1])}

    extract.sampling_rate = 16_000  # type: ignore[attr-defined]
    found = chunk_iter(np.arange(num_samples), extract, chunking.size, chunking.left, chunking.right)
    return [Chunk(one["first"], one["last"] + 1, *one["stride"][1:]) for one in found]


@given(st.integers(1, 200_000), st.integers(1, 100), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=200)
def test_chunks_are_those_of_transformers_and_what_is_kept_of_them_too(
    num_samples: int, size: int, left: int, right: int
) -> None:
    """The risks: a frame that is told twice at a seam, or by nobody; another rounding."""
    chunking = Chunking((size + left + right) * STEP, left * STEP, right * STEP)
    chunks = list(chunking.chunks(num_samples))
    assert chunks == theirs(num_samples, chunking)
    for chunk in chunks:
        ((num_frames, first, last),) = rescale_stride([(chunk.stop - chunk.start, chunk.left, chunk.right)], 1 / STEP)
        assert chunk.kept(STEP) == slice(first, num_frames - last)
    ends = [chunk.start + chunk.kept(STEP).stop * STEP for chunk in chunks[:-1]]
    assert ends == [chunk.start + chunk.kept(STEP).start * STEP for chunk in chunks[1:]]


@given(st.integers(1, 50_000), st.data())
def test_any_stride_is_rounded_as_transformers_rounds_it(num_samples: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, num_samples))
    right = data.draw(st.integers(0, num_samples - left))
    ((num_frames, first, last),) = rescale_stride([(num_samples, left, right)], 1 / STEP)
    assert Chunk(0, num_samples, left, right).kept(STEP) == slice(first, num_frames - last)


@pytest.mark.parametrize(
    ("chunk_s", "stride_s", "expected"),
    [
        (30, None, (480_000, 80_000, 80_000)),
        (10, (4, 2), (160_000, 64_000, 32_000)),
        (1.03, 0.11, (16_640, 1_920, 1_920)),  # 51.5 frames are 52, 5.5 are 6: halves go to even numbers
        (1, [0.0, 0.21], (16_000, 0, 3_200)),
        (np.float32(1), np.float32(0.2), (16_000, 3_200, 3_200)),
        (np.int64(10), np.array([4, 2]), (160_000, 64_000, 32_000)),
    ],
)
def test_seconds_become_whole_frames(chunk_s: float, stride_s: Any, expected: tuple[int, ...]) -> None:
    assert Chunking.of(chunk_s, stride_s, STEP) == Chunking(*expected)


def test_an_end_that_is_too_short_to_be_heard_is_left_out_unless_it_is_all_there_is() -> None:
    chunking = Chunking(8_000, 0, 0)
    assert list(chunking.chunks(16_100, min_samples=400)) == [Chunk(0, 8_000), Chunk(8_000, 16_000)]
    assert list(chunking.chunks(100, min_samples=400)) == [Chunk(0, 100)]


def test_a_chunk_of_which_nothing_would_be_left_is_refused() -> None:
    """transformers raises what `range` says of a step of zero."""
    for chunk_s, stride_s in ((1, 0.5), (1, (0.9, 0.2)), (0.001, 0), (0, 0)):
        with pytest.raises(UsageError, match="leaves nothing"):
            Chunking.of(chunk_s, stride_s, STEP)


NO_TIMES: list[Any] = ["10", -1, math.nan, math.inf, 1e300, 10**400, 1j]


@pytest.mark.parametrize("given", NO_TIMES)
def test_what_is_no_number_of_seconds_is_told_by_the_name_of_what_is_wrong(given: Any) -> None:
    """The risk: an error from the arithmetic, or one that names the other of the two."""
    with pytest.raises(UsageError, match=r"^chunk_length_s is a number of seconds from 0 on, not "):
        Chunking.of(given, None, STEP)
    for stride_s in (given, (0, given), [given, 0, 0]):
        with pytest.raises(
            UsageError, match=r"^stride_length_s is a number of seconds, or two of them, from 0 on, not"
        ):
            Chunking.of(1, stride_s, STEP)
