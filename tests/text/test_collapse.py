"""The collapse of a whole batch beside one of a few lines that anybody can check; transformers' is another test's."""

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decode.greedy import collapse
from pipeline.text.collapse import IGNORED, Spelling, collapsed, stretches

TOKENS = ["-", "a", None, "bb", " ", "|", "", "<u>", "\N{GRINNING FACE}", "e\N{COMBINING ACUTE ACCENT}", "\ud800"]
SPELLING = Spelling.of(TOKENS, "<u>", {"-"}, {"|": " "})
FRAMES = st.lists(st.integers(-2, len(TOKENS) + 2) | st.just(IGNORED), max_size=15)


def plain(frames: list[int], length: int, group: bool) -> list[dict[str, Any]]:
    """The characters of one text: join, then drop."""
    found, frame = list[dict[str, Any]](), 0
    tokens = [
        IGNORED
        if number == IGNORED
        else (TOKENS[number] if 0 <= number < len(TOKENS) else None) or ("" if number == TOKENS.index("") else "<u>")
        for number in frames[:length]
    ]
    for token, same in groupby(tokens) if group else ((token, [token]) for token in tokens):
        times = len(list(same))
        if token not in ("-", IGNORED):
            char = " " if token == "|" else token
            found.append({"char": char, "start_offset": frame, "end_offset": frame + times})
        frame += times
    return found


@given(batch=st.lists(FRAMES, max_size=5), group=st.booleans(), data=st.data())
def test_a_batch_is_what_each_of_it_is_alone(batch: list[list[int]], group: bool, data: st.DataObject) -> None:
    lengths = [data.draw(st.integers(0, len(frames))) for frames in batch]
    done = collapsed(batch, SPELLING, group, lengths)
    expected = [plain(frames, length, group) for frames, length in zip(batch, lengths, strict=True)]
    assert done.char_offsets() == expected
    assert done.texts() == ["".join(char["char"] for char in chars).strip() for chars in expected]
    assert done.texts(spaced=True) == [" ".join(char["char"] for char in chars).strip() for chars in expected]
    words = [
        [list(same) for in_word, same in groupby(chars, key=lambda char: char["char"] != " ") if in_word]
        for chars in expected
    ]
    assert done.word_offsets(" ") == [
        [
            {
                "word": "".join(char["char"] for char in word),
                "start_offset": word[0]["start_offset"],
                "end_offset": word[-1]["end_offset"],
            }
            for word in of_text
        ]
        for of_text in words
    ]


def test_ids_far_beyond_those_of_one_byte_are_ids() -> None:
    """Most lists are read as bytes; those that cannot be must not be cut to them."""
    many = Spelling.of([chr(0x4E00 + number) for number in range(5000)], None, set(), {})
    assert collapsed([[0, 255, 256, 4999]], many).texts() == ["\u4e00\u4eff\u4f00\u6187"]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_ids_of_any_width_are_the_same_ids(dtype: Any) -> None:
    """Of 200 labels the number that stands for padding has no room in eight bits: it became a label's."""
    many = Spelling.of([chr(0x4E00 + number) for number in range(200)], "<u>", set(), {})
    rows = [[5, 5, 100, 5], [0, 127, 5, 5]] + ([[5, IGNORED, 5, -1]] if np.iinfo(dtype).min < 0 else [[5, 5, 200, 255]])
    rows = [[min(number, np.iinfo(dtype).max) for number in row] for row in rows]
    assert collapsed(np.array(rows, dtype), many).texts() == collapsed(rows, many).texts()


def test_ids_that_are_true_or_false_are_numbers() -> None:
    """As an index they would choose labels instead of naming them."""
    few = Spelling.of(["a", "b"], None, set(), {})
    assert collapsed(np.array([[True, False, True]]), few).texts() == ["bab"]


@given(st.lists(st.integers(0, 2), max_size=12))
def test_greedy_decoding_joins_the_same_repeats(labels: list[int]) -> None:
    """There it is of one recording, with the frames where a stretch ends."""
    frames = np.array(labels, np.int64)
    starts, _ = collapse(frames)
    assert starts.tolist() == stretches(frames, np.array([0, len(frames)])).tolist()
