"""suite.toml: what is misspelt, misplaced or impossible is said before anything is done, and by its name."""

import re
from pathlib import Path

import pytest

from pipeline.config import DecodeConfig, ReadConfig, RunConfig
from pipeline.errors import UsageError
from pipeline.suite.settings import EvaluateConfig, load
from tests.suite.made import write_suite


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load(str(path))
    return str(caught.value)


def test_sections_of_all_are_what_each_has_unless_it_says_otherwise(tmp_path):
    suite = load(
        str(
            write_suite(
                tmp_path / "suite.toml",
                datasets={"one": {"input": "a"}, "two": {"input": "s3://b/two", "limit": 5, "channels": 1}},
                models={"base": {"model": "o/base"}, "large": {"model": "o/large", "precision": "bf16"}},
                decoders={"plain": {}, "wide": {"beam_width": 200, "alpha": 1}},
                read={"limit": 10, "unit_s": 60, "max_duration_s": 30},
                encode={"precision": "int8", "batch_s": 10},
                decode={"lm": ["lm.arpa", "/else/lm.bin"], "beam_width": 50},
                score={"normalizer": "english"},
                evaluate={"group": "speaker"},
            )
        )
    )
    one, two = suite.datasets
    assert (one.location, two.location) == (str(tmp_path / "a"), "s3://b/two")
    assert (one.read.limit, two.read.limit, two.read.channels) == (10, 5, 1)
    assert suite.read == ReadConfig(unit_s=60.0, max_duration_s=30.0)  # without a limit of all datasets together
    assert [model.precision for model in suite.models.values()] == ["int8", "bf16"]
    assert all(model.keep_emissions and model.batch_s == 10 for model in suite.models.values())
    lm = (str(tmp_path / "lm.arpa"), "/else/lm.bin")
    assert suite.decoders == {
        "plain": DecodeConfig(lm=lm, beam_width=50),
        "wide": DecodeConfig(lm=lm, beam_width=200, alpha=1.0),
    }
    assert (suite.score.normalizer, suite.run, suite.evaluate) == (
        "english",
        RunConfig(address="here"),
        EvaluateConfig(group="speaker"),
    )
    assert list(suite.names.values()) == ["base-plain", "base-wide", "large-plain", "large-wide"]


def test_without_decoders_there_is_one_and_models_go_by_their_names(tmp_path):
    suite = load(str(write_suite(tmp_path / "suite.toml", decoders=None)))
    assert suite.decoders == {"": DecodeConfig()}
    assert list(suite.names.values()) == ["base", "large"]


def test_paths_are_those_beside_the_file_and_not_those_of_the_working_directory(tmp_path, monkeypatch):
    """Of inputs, of checkpoints that are there, and of all files of a decoder; a name on the hub stays one."""
    (tmp_path / "there" / "o" / "model").mkdir(parents=True)
    (tmp_path / "here" / "o" / "other").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    decoder = {name: f"{name}.txt" for name in ("lexicon", "phone_map", "unigrams", "hotwords")}
    suite = load(
        str(
            write_suite(
                tmp_path / "there" / "suite.toml",
                datasets={"a": {"input": "in/*.wav"}, "hub": {"input": "org/data:en", "source": "hub"}},
                models={"beside": {"model": "o/model"}, "hub": {"model": "o/hub"}, "below": {"model": "./o/gone"}},
                decoders={"all": decoder | {"lm": "lm.bin"}},
            )
        )
    )
    there = tmp_path / "there"
    assert [dataset.location for dataset in suite.datasets] == [str(there / "in/*.wav"), "org/data:en"]
    assert [m.model for m in suite.models.values()] == [str(there / "o/model"), "o/hub", str(there / "o/gone")]
    (found,) = suite.decoders.values()
    assert found.lm == (str(there / "lm.bin"),)
    assert {name: getattr(found, name) for name in decoder} == {n: str(there / p) for n, p in decoder.items()}
    told = refusal(write_suite(there / "suite.toml", models={"here": {"model": "o/other"}}))
    assert re.search(
        r"models\.here: model = o/other lies in the working directory; relative paths begin at .*/there$", told
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dataset": {}}, "unknown section dataset; did you mean datasets?"),
        ({"datasets": None}, "no datasets: give one or more, as [datasets.NAME] with input = ..."),
        ({"models": {}}, "no models: give one or more, as [models.NAME] with model = ..."),
        ({"datasets": {"a": {}}}, "datasets.a: no input: give where it is"),
        ({"datasets": {"a": {"input": 3}}}, "datasets.a: no input: give where it is"),
        (
            {"datasets": {"a": {"input": "x", "referencecolumn": "y"}}},
            "unknown configuration key datasets.a.referencecolumn; did you mean reference_column?",
        ),
        ({"datasets": {"a": {"input": "x", "inputs": "y"}}}, "did you mean input?"),
        ({"datasets": {"a": {"input": "x", "limit": "all"}}}, "datasets.a.limit = 'all': expected a whole number"),
        ({"datasets": {"a": {"input": "x", "limit": 0}}}, "datasets.a: read.limit must be above zero"),
        (
            {"datasets": {"a": {"input": "x", "max_duration_s": 9}}},
            "datasets.a.max_duration_s: holds for all datasets alike; set it in [read]",
        ),
        ({"datasets": {"a": {"input": "x", "unit_s": 9}}}, "datasets.a.unit_s: holds for all datasets alike"),
        ({"models": {"m": {"precision": "bf16"}}}, "models.m: no model: give a checkpoint"),
        ({"models": {"m": {"model": "x", "window": 3}}}, "models.m.window; did you mean window_s?"),
        ({"models": {"m": {"model": "x", "window_s": 1}}}, "models.m: encode.overlap_s must be"),
        ({"models": {"m": {"model": "x", "keep_emissions": False}}}, "models.m: keep_emissions = false, but of 2"),
        ({"decoders": {"d": {"beamwidth": 3}}}, "decoders.d.beamwidth; did you mean beam_width?"),
        ({"decoders": {"d": {"beam_width": 0}}}, "decoders.d: decode.beam_width"),
        ({"decode": {"beam_width": "wide"}}, "decode.beam_width = 'wide': expected a whole number"),
        ({"read": {"limits": 3}}, "read.limits; did you mean limit?"),
        ({"run": {"adress": "here"}}, "run.adress; did you mean address?"),
        ({"score": {"normaliser": "english"}}, "score.normaliser; did you mean normalizer?"),
        ({"encode": 3}, "encode is a section, not a value"),
        ({"models": {"m": "facebook/x"}}, "models.m is a section, not a value: [models.m]"),
        ({"datasets": {"../up": {"input": "x"}}}, "datasets.../up: folders are called by that name"),
        ({"models": {"a b": {"model": "x"}}}, "models.a b: folders are called by that name"),
        ({"decoders": {".d": {}}}, "decoders..d: folders are called by that name"),
        ({"models": {"m" * 65: {"model": "x"}}}, "at most 64"),
        (
            {"models": {"a": {"model": "x"}, "a-b": {"model": "y"}}, "decoders": {"b-c": {}, "c": {}}},
            "model a-b with decoder c and model a with decoder b-c are both called a-b-c",
        ),
        (
            {"models": {"a": {"model": "x"}, "A-GREEDY": {"model": "y"}}},
            "model a with decoder greedy and model A-GREEDY are both called a-greedy",
        ),
        ({"evaluate": {"prize": 2.5}}, "evaluate.prize; did you mean price?"),
        ({"evaluate": {"price": -1}}, "evaluate.price must be zero or above and finite, not -1.0"),
        ({"evaluate": {"worst": -1}}, "evaluate.worst must be zero or above"),
        ({"evaluate": {"baseline": "base-gredy"}}, "nothing has that name; did you mean base-greedy?"),
        ({"models": {"evaluation.json": {"model": "x"}}}, "model evaluation.json and what lies beside them are both"),
        ({"models": {"runs": {"model": "x"}}, "decoders": None}, "model runs and what lies beside them are both"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(changes, told, tmp_path):
    assert told in refusal(write_suite(tmp_path / "suite.toml", **changes))


def test_a_file_that_is_none_and_one_that_is_no_toml_are_told(tmp_path):
    assert refusal(tmp_path / "gone.toml") == f"suite {tmp_path}/gone.toml: No such file or directory"
    (tmp_path / "bad.toml").write_text("[datasets\n")
    assert refusal(tmp_path / "bad.toml").startswith(f"suite {tmp_path}/bad.toml is not TOML: ")
