"""The runs of a suite: nothing is loaded, encoded or listed more often than it must be, and each result is the one that
a transcription of its own would have given.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import config as configuration
from pipeline import plan
from pipeline.commit import Commit
from pipeline.drive import drive
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import find
from pipeline.sources import joined
from pipeline.suite.runs import Runs
from pipeline.suite.settings import load
from pipeline.summary import Summary
from pipeline.write import read_parts
from tests.suite.made import NUM_RECORDINGS, write_suite

COUNTS = ("hits", "substitutions", "deletions", "insertions")
COMPARED = ("status", "error", "text", "words", "confidence", "score", "reference", "duration_s", "channel")
CELLS = ["base-greedy", "base-lm", "large-greedy", "large-lm"]


class Encoders:
    """In place of what makes encoders: counts those that are made, and what passes through them."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.encoded: Counter[tuple[str, str]] = Counter()
        self.units: list[set[str]] = []  # of each unit the datasets in it
        self.fails_at: int | None = None  # the unit, counted from 1
        self._make = plan.encoder

    def __call__(self, config: configuration.EncodeConfig, expected_hash: str) -> Any:
        name = Path(config.model).name
        self.made[name] += 1
        stage = self._make(config, expected_hash)

        def encode(unit: Any) -> Any:
            if len(self.units) + 1 == self.fails_at:
                raise KeyboardInterrupt
            self.units.append({recording.id.partition("/")[0] for recording in unit.recordings})
            self.encoded.update((name, recording.id) for recording in unit.pending())
            return stage(unit)

        return encode


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> Encoders:
    counting = Encoders()
    monkeypatch.setattr(plan, "encoder", counting)
    return counting


def carried(suite: Path, out: Path) -> dict[str, Summary]:
    """By what each run is called."""
    runs = Runs(load(str(suite)), str(out))
    runs.check()
    with Progress(log_every_s=1000) as progress:
        done = {summary.run: summary for summary in runs.carried(progress)}
    return {one.name: done[one.url] for one in runs.named}


def rows(run: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_parts(find(run)).to_pylist()}


def commits(run: str) -> Iterator[Commit]:
    yield from find(run).commits().values()


@pytest.fixture(scope="module")
def whole(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the suite, finished. Not to be written to."""
    out = tmp_path_factory.mktemp("whole")
    carried(write_suite(material / "suite.toml"), out)
    return out


@pytest.fixture
def there(whole: Path, tmp_path: Path) -> Path:
    """A copy of them, to go on from."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def files(out: Path) -> dict[Path, bytes]:
    """But for run summaries, which are as they were written."""
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_one_encoder_a_model_for_all_datasets_and_nothing_is_encoded_twice(material, encoders, tmp_path):
    done = carried(write_suite(material / "suite.toml"), tmp_path / "out")
    assert list(done) == CELLS
    assert encoders.made == {"base": 1, "large": 1}
    assert set(encoders.encoded.values()) == {1}
    assert len(encoders.encoded) == 2 * (sum(NUM_RECORDINGS.values()) - 1)  # one cannot be read
    assert set.union(*encoders.units) == set(NUM_RECORDINGS)
    assert all(len(datasets) == 1 for datasets in encoders.units)
    for name, one in done.items():
        assert one.tally.num_recordings == sum(NUM_RECORDINGS.values())
        stages = {stage for commit in commits(one.run) for stage in commit.stage_s}
        assert ("encode" in stages) == name.endswith("-greedy")


OWN = {
    "clean": ("clean/manifest.jsonl", ['read.reference_column="sentence"']),
    "shards": ("shards", []),
    "stereo": ("stereo", ["read.channels=each"]),
}


@pytest.mark.parametrize("model", ["base", "large"])
@pytest.mark.parametrize(("decoder", "keys"), [("greedy", ["decode.decoder=greedy"]), ("lm", ["decode.beam_width=8"])])
def test_each_result_is_that_of_a_transcription_of_its_own(model, decoder, keys, whole, material, tmp_path):
    """Texts, times, scores and counts; also of the recordings that fail."""
    together = rows(str(whole / "runs" / (model if decoder == "greedy" else f"{model}-lm")))
    keys = [*keys, f'encode.model="{material}/models/{model}"', "encode.keep_emissions=true", "run.address=here"]
    keys += [f'decode.lm="{material}/lm.arpa"'] * (decoder == "lm")
    for name, (source, own) in OWN.items():
        request = Request(str(material / source), str(tmp_path / name), configuration.load(None, [*keys, *own]))
        with Progress(log_every_s=1000) as progress:
            drive(request, progress)
        alone = rows(str(tmp_path / name))
        assert len(alone) == NUM_RECORDINGS[name]
        for identity, row in alone.items():
            other = together.pop(f"{name}/{identity}")
            assert other["dataset"] == name
            for column in (*COMPARED, *(f"{kind}_{count}" for kind in ("word", "char") for count in COUNTS)):
                assert other[column] == row[column], (identity, column)
    assert not together


def test_columns_of_all_datasets_are_those_of_the_run(whole):
    found = rows(str(whole / "runs" / "base"))
    assert {row["take"] for row in found.values()} == {"0", "1", "2", "3", "first", None}
    assert {(row["dataset"], row["input_dataset"]) for row in found.values()} == {
        ("clean", "theirs"),
        ("shards", None),
        ("stereo", None),
    }


def test_a_suite_that_is_done_does_nothing_more(material, there, encoders):
    before = files(there)
    carried(write_suite(material / "suite.toml"), there)
    assert not encoders.made
    assert files(there) == before


def test_one_that_was_interrupted_goes_on_where_it_was(material, whole, encoders, tmp_path):
    """Within a unit of the second model; what is committed is not encoded again."""
    suite, out = write_suite(material / "suite.toml"), tmp_path / "out"
    encoders.fails_at = num_before = len(list(commits(str(whole / "runs" / "base")))) + 3
    with pytest.raises(KeyboardInterrupt):
        carried(suite, out)
    assert len(encoders.units) == num_before - 1
    encoders.fails_at = None
    assert list(carried(suite, out)) == CELLS
    assert encoders.made == {"base": 1, "large": 2}
    assert set(encoders.encoded.values()) == {1}
    for folder in ("base", "base-lm", "large", "large-lm"):
        assert rows(str(out / "runs" / folder)) == rows(str(whole / "runs" / folder))


def test_a_decoder_that_comes_later_decodes_what_is_kept(material, there, encoders):
    """Also where it comes before those that are there; they stay as they are."""
    before = files(there)
    decoders = {
        "wide": {"lm": "lm.arpa", "beam_width": 32},
        "lm": {"lm": "lm.arpa", "beam_width": 8},
        "greedy": {"decoder": "greedy"},
    }
    done = carried(write_suite(material / "suite.toml", decoders=decoders), there)
    assert set(done) == {*CELLS, "base-wide", "large-wide"}
    assert (done["base-greedy"].run, done["base-wide"].run) == (f"{there}/runs/base", f"{there}/runs/base-wide")
    assert not encoders.made
    assert {path: data for path, data in files(there).items() if path in before} == before


def test_a_decoder_that_comes_after_a_single_one_without_a_name_does_so_too(material, encoders, tmp_path):
    models = {"base": {"model": "models/base"}}
    done = carried(write_suite(material / "suite.toml", models=models, decoders=None), tmp_path / "out")
    assert list(done) == ["base"]
    done = carried(write_suite(material / "suite.toml", models=models), tmp_path / "out")
    assert list(done) == ["base-greedy", "base-lm"]
    assert encoders.made == {"base": 1}


def test_a_decoder_has_nothing_of_the_first_s(material, whole, tmp_path):
    """As decoding again by hand would: a language model that is not its own."""
    decoders = {"lm": {"lm": "lm.arpa", "beam_width": 8}, "auto": {}, "search": {"decoder": "native", "beam_width": 8}}
    models = {"base": {"model": "models/base"}}
    done = carried(write_suite(material / "suite.toml", decoders=decoders, models=models), tmp_path / "out")
    texts = {name: {key: row["text"] for key, row in rows(one.run).items()} for name, one in done.items()}
    assert texts["base-auto"] == {key: row["text"] for key, row in rows(str(whole / "runs" / "base")).items()}
    assert texts["base-lm"] not in (texts["base-auto"], texts["base-search"])
    settings = find(done["base-search"].run).info()["settings"]
    assert (settings["decode.decoder"], settings["decode.lm"]) == ("native", [])


def test_a_model_that_comes_later_hears_the_same_recordings(material, there, encoders, monkeypatch):
    """Those that are listed already, not what lies there by now."""
    monkeypatch.setattr(joined, "open_source", None)
    before = files(there)
    models = {name: {"model": f"models/{name}"} for name in ("phones", "base", "large")}
    decoders = {"greedy": {"decoder": "greedy"}}
    done = carried(write_suite(material / "suite.toml", models=models, decoders=decoders), there)
    assert encoders.made == {"phones": 1}
    assert list(done) == ["phones-greedy", "base-greedy", "large-greedy"]
    assert rows(done["phones-greedy"].run).keys() == rows(done["base-greedy"].run).keys()
    assert {path: data for path, data in files(there).items() if path in before} == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"datasets": {"more": {"input": "stereo"}}}, r"datasets\.more: unset -> .*/stereo"),
        ({"datasets": {"stereo": {"input": "stereo"}}}, r"datasets\.stereo: .*/stereo, channels = each -> .*/stereo\b"),
        ({"datasets": {"shards": {"input": "shards", "limit": 1}}}, r"datasets\.shards: .*/shards -> .*, limit = 1"),
        (
            {"decoders": {"lm": {"lm": "lm.arpa", "beam_width": 9}}},
            r"base-lm is another run \(decode\.beam_width: 8 -> 9",
        ),
        ({"models": {"large": {"model": "models/base"}}}, r"runs/large is another run \(encode\.model"),
        ({"score": {"normalizer": "basic"}}, r"score\.normalizer: none -> basic"),
        ({"read": {"unit_s": 3.0}}, r"read\.unit_s: 2\.0 -> 3\.0"),
    ],
)
def test_another_suite_is_refused_before_anything_is_done_and_what_differs_is_named(
    changes, told, material, there, encoders
):
    """Of all runs: not after hours of the first model, and not by a model that comes before them."""
    suite = json.loads(json.dumps(CHANGEABLE))
    for section, values in changes.items():
        suite[section] = suite.get(section, {}) | values
    suite["models"] = {"first": {"model": "models/base", "whole_s": 60.0}} | suite["models"]
    before = files(there)
    with pytest.raises(UsageError, match=told):
        carried(write_suite(material / "suite.toml", **suite), there)
    assert not encoders.made
    assert files(there) == before


CHANGEABLE: dict[str, Any] = {
    "datasets": {
        "clean": {"input": "clean/manifest.jsonl", "reference_column": "sentence"},
        "shards": {"input": "shards"},
        "stereo": {"input": "stereo", "channels": "each"},
    },
    "models": {"base": {"model": "models/base"}, "large": {"model": "models/large"}},
    "decoders": {"greedy": {"decoder": "greedy"}},
}


def test_datasets_and_limits_that_change_no_result_may_change(material, there, encoders):
    """Their order in the file, how long a store is waited for."""
    datasets = dict(reversed(CHANGEABLE["datasets"].items()))
    carried(
        write_suite(material / "suite.toml", datasets=datasets, read={"unit_s": 2.0, "max_duration_s": 60.0}), there
    )
    assert not encoders.made


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"models": {"phones": {"model": "models/phones"}}},
            r"^models\.phones with decoders\.lm: decode\.lm = .*: the model writes phonemes",
        ),
        (
            {"decoders": {"plain": {}, "said": {"lexicon": "lm.arpa"}}},
            r"^models\.base with decoders\.said: decode\.lexicon = .*: the model writes letters",
        ),
        ({"models": {"gone": {"model": "./models/gone"}}}, r"^models\.gone: model .*/models/gone: no such directory"),
        ({"decoders": {"lm": {"lm": "gone.arpa"}}}, r"^models\.base with decoders\.lm: .*gone\.arpa"),
        ({"datasets": {"gone": {"input": "gone"}}}, r"^datasets\.gone: .*/gone: no such file"),
    ],
)
def test_what_cannot_be_done_is_told_by_its_names_and_nothing_is_written(changes, told, material, tmp_path):
    with pytest.raises(UsageError, match=told):
        carried(write_suite(material / "suite.toml", **changes), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("run.json"))


def test_a_language_model_that_does_not_fit_is_told_of_as_in_a_transcription(material, tmp_path, capsys):
    (material / "lower.arpa").write_text((material / "lm.arpa").read_text().replace("NIGHT", "night").replace("A", "a"))
    decoders = {"greedy": {"decoder": "greedy"}, "lower": {"lm": "lower.arpa", "beam_width": 8}}
    models = {"base": {"model": "models/base"}}
    carried(write_suite(material / "suite.toml", decoders=decoders, models=models), tmp_path / "out")
    told = capsys.readouterr().err
    assert "warning: " in told and "lower.arpa" in told
    assert [line.split(" ", 1)[1] for line in told.splitlines() if " of 2" in line] == [
        "base-greedy: 1 of 2",
        "base-lower: 2 of 2",
    ]


def test_what_lies_below_out_is_no_part_of_a_dataset(material, tmp_path):
    """A suite whose output lies in one of its inputs would else grow each time."""
    corpus = Path(shutil.copytree(material / "stereo", tmp_path / "corpus"))
    out = corpus / "evaluation"
    out.mkdir()
    shutil.copy(corpus / "two.wav", out / "mine.wav")
    datasets = {"own": {"input": str(corpus)}}
    models = {"base": {"model": "models/base"}}
    done = carried(write_suite(material / "suite.toml", datasets=datasets, models=models), out)
    assert {name: list(rows(one.run)) for name, one in done.items()} == {
        "base-greedy": ["own/two.wav"],
        "base-lm": ["own/two.wav"],
    }
