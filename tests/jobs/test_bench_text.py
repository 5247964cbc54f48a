"""`nightshift bench text`: both sides of the race say the same, and programs can read what was measured."""

import json

import pytest

from jobs import bench_text
from jobs.__main__ import main


def test_what_is_measured_is_told_and_can_be_read_by_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, less in {"LEAST_S": 0.0, "NUM_SEQUENCES": 5, "LENGTHS_S": (1.5, 1.0)}.items():
        monkeypatch.setattr(bench_text, name, less)
    assert main(["bench", "text", "--rounds", "1", "--part", "FeatureExtractor", "--part", "offsets"]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    results = {one["part"]: one for one in json.loads(last)["results"]}
    assert {
        "Wav2Vec2FeatureExtractor",
        "SeamlessM4TFeatureExtractor",
        "CTC, dense, word offsets",
        "phonemes, offsets",
    } <= set(results)
    for name, one in results.items():
        assert any(name in line for line in shown)
        assert min(one["here"], one["transformers"], *one["ratios"]) > 0
        assert one["difference"] <= (1e-4 if "Extractor" in name else 0), name


def test_a_part_that_is_not_there_is_named_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "text", "--part", "dogs"]) == 2
    assert "--part dogs: there are Wav2Vec2FeatureExtractor; " in capsys.readouterr().err
