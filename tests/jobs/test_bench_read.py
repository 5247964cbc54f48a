"""`nightshift bench read`: it measures the decoding of what it says, here beside the bare decoder."""

import json

import numpy as np
import pytest

from jobs.__main__ import main
from jobs.bench_read_material import FORMATS, bare, encoded
from pipeline.config import ReadConfig
from pipeline.read.guard import Guard, Limits


def test_what_is_measured_is_told_and_can_be_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--format", "flac-16k", "--format", "opus-48k", "--seconds", "20", "--rounds", "2"]
    assert main(["bench", "read", *wanted]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    assert [one["format"] for one in figures["results"]] == ["flac-16k", "opus-48k"]
    for one in figures["results"]:
        assert any(one["format"] in line and one["decoder"] in line for line in shown)
        assert len(one["ratios"]) == 2
        assert min(one["here"], one["bare"], one["segment_ms"], one["child_peak_bytes"]) > 0


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_both_sides_of_the_race_decode_the_same_sound(form) -> None:
    """Else the quicker may be the one that does less. Resamplers and codecs' first frames differ a little."""
    data = encoded(form, 3.0)
    guard = Guard(Limits.of(ReadConfig()))
    try:
        here = guard.decode(data).audio
    finally:
        guard.stop()
    there = bare(form, data)
    if here.dtype == np.int16:
        here = here / np.float32(2**15)
    assert abs(len(here) - len(there)) < 0.03 * 16_000
    # By the loudness of each tenth of a second: the containers' idea of where the sound begins may differ by a frame.
    loudness = [[np.sqrt(np.mean(x[n : n + 1600] ** 2)) for n in range(1600, 44_000, 1600)] for x in (here, there)]
    assert np.corrcoef(loudness)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rounds", "0"], "--rounds must be"),
        (["--seconds", "5"], "--seconds at least"),
        (["--format", "x"], "one of wav"),
    ],
)
def test_options_that_cannot_be(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(["bench", "read", *arguments]) == 2
    assert told in capsys.readouterr().err
