"""The bundled model, language model and corpus from end to end: as good as is shipped, and the same however it is run.

What is committed is what is tested, so without it these tests fail.
"""

import io
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from jobs import demo as job
from pipeline import plan
from pipeline.config import DecodeConfig, EncodeConfig, ReadConfig
from pipeline.decode.greedy import greedy
from pipeline.decode.settings import settle
from pipeline.demo import figures
from pipeline.demo.bundled import ASSETS, CORPUS, FIGURES, INPUTS, LM, MODEL, SUITE
from pipeline.emissions import read, rounded
from pipeline.models import Wav2Vec2ForCTC
from pipeline.models.locate import model_hash
from pipeline.read.reader import Reader
from pipeline.records import SAMPLE_RATE, SCHEMA, ErrorCounts, Recording
from pipeline.run import Run, find
from pipeline.score import count_words
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit
from tests.faults.runs import HERE, check_nothing_else_is_left, command, num_commits, rows, started

pytestmark = pytest.mark.xdist_group("bundled")  # the corpus is encoded once, for one process

# Of a rate: other CPUs and libraries round otherwise. Noise of 80 dB below the sound moves rates of words by 0.0006,
# products in bf16 by 0.0026.
NEAR = 0.01
WAYS = {"greedy": DecodeConfig(decoder="greedy"), "with_lm": DecodeConfig(lm=(str(LM),))}
KILLED_AT = (3, 6)  # commits, of 10


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `nightshift demo OUT --json` prints, of runs in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "MAX_THREADS", 1)  # two, where other tests want the CPUs too, spend half of them on waiting
        demo = job.demo(job.suite("here"), str(tmp_path_factory.mktemp("demo") / "out"))
    return dict(json.loads(json.dumps(demo.as_dict())))


@pytest.fixture(scope="module")
def run(shown: dict[str, Any]) -> Run:
    """The one with the language model, of all folders of the corpus."""
    return find(shown["evaluations"][1]["run"])


@pytest.fixture(scope="module")
def units(run: Run) -> dict[str, list[list[Recording]]]:
    """Of each folder the units of its recordings, with audio; without what could not be read."""
    reader, found = Reader(ReadConfig(), run.load), defaultdict(list)
    for info in run.manifest.units():
        unit = reader(Unit(info.id))
        found[unit.recordings[0].id.partition("/")[0]].append(unit.pending())
    return found


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def decoders(vocabulary: Vocabulary) -> dict[str, plan.RunStage]:
    return {way: plan.decoder(settle(config, vocabulary), vocabulary) for way, config in WAYS.items()}


def encoded(units: list[list[Recording]], **options: Any) -> dict[str, Recording]:
    """Copies of them after the encoder, by id."""
    config = EncodeConfig(model=str(MODEL), device="cpu", **options)
    encoder = plan.encoder(config, model_hash(config.model))
    done = [one for unit in units for one in encoder(Unit(0, [replace(one) for one in unit])).recordings]
    assert {one.error for one in done} == {None}
    return {one.id: one for one in done}


def decoded(decoder: plan.RunStage, recordings: dict[str, Recording]) -> dict[str, Recording]:
    """Copies of them after the decoder."""
    return {one.id: one for one in decoder(Unit(0, [replace(one) for one in recordings.values()])).recordings}


# ---- as good as is shipped


def test_the_error_rates_are_those_that_are_shipped(shown: dict[str, Any]) -> None:
    """The risk: a change anywhere between a file and its text that costs words, and that no other test sees.

    After a change that is meant, or with another model or corpus, the figures are made anew as `demo.figures` says.
    """
    found, shipped = figures.figures(shown), json.loads(FIGURES.read_text())
    for name in ("model", "lm", "num_scored", "num_speakers", "num_long"):
        assert found[name] == shipped[name], f"the figures are of another {name}: see pipeline/demo/figures.py"
    for kind in ("words", "chars"):
        for way in WAYS:
            now, then = found[kind][way], shipped[kind][way]
            assert then["interval"][0] <= now["value"] <= then["interval"][1], (kind, way)
            assert now["value"] == pytest.approx(then["value"], abs=NEAR), (kind, way)
    for way in WAYS:
        assert found["long_words"][way]["value"] == pytest.approx(shipped["long_words"][way]["value"], abs=NEAR)


def test_the_figures_are_of_decoding_as_anybody_s_is() -> None:
    """No parameter that suits this corpus flatters them; and all folders are in them."""
    suite = job.suite("here")
    (model,) = suite.models.values()
    assert list(suite.decoders.values()) == [WAYS["with_lm"], WAYS["greedy"]]
    assert [dataset.input for dataset in suite.datasets] == [*map(str, INPUTS)]
    assert model == EncodeConfig(model=str(MODEL), keep_emissions=True, actors=1, threads=model.threads)


def test_the_language_model_earns_its_keep(shown: dict[str, Any]) -> None:
    """For words, by intervals that do not overlap; and in what is shipped."""
    for found in (figures.figures(shown), json.loads(FIGURES.read_text())):
        assert found["words"]["with_lm"]["interval"][1] < found["words"]["greedy"]["interval"][0]
        assert found["difference"]["value"] < found["difference"]["interval"][1] < 0


def test_the_figures_that_are_shipped_come_from_a_demo_on_stdin(
    shown: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    monkeypatch.setattr("pipeline.demo.bundled.FIGURES", target)
    monkeypatch.setattr("sys.argv", ["figures"])
    silent = [one | {"coverage": {"num_scored": 0}} for one in shown["evaluations"]]
    for nonsense in ("", "3", '{"tally": 1}', json.dumps(shown | {"evaluations": silent})):
        monkeypatch.setattr("sys.stdin", io.StringIO(nonsense))
        assert figures.main() == 2
        assert capsys.readouterr().err.startswith("figures: ")
        assert not target.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(shown)))
    assert figures.main() == 0
    for way, one in zip(WAYS, shown["evaluations"], strict=True):
        for kind, rate in (("words", "wer"), ("chars", "cer")):
            shipped, found = json.loads(target.read_text())[kind][way], one["rates"][rate]
            assert shipped["value"] == pytest.approx(found["value"], abs=1e-5)
            assert shipped["interval"] == pytest.approx(list(found["interval"].values()), abs=1e-5)


# ---- the checkpoint


def test_transformers_hears_the_same(units: dict[str, list[list[Recording]]], vocabulary: Vocabulary) -> None:
    """From trained weights, which random ones of the same shape do not stand for: a tiny variance, a large scale."""
    transformers = pytest.importorskip("transformers")
    theirs, told = transformers.Wav2Vec2ForCTC.from_pretrained(MODEL, dtype=torch.float32, output_loading_info=True)
    assert not any(told.values())  # no weight is missing, left over or of another shape
    processor = transformers.Wav2Vec2Processor.from_pretrained(MODEL)
    ours = Wav2Vec2ForCTC.from_pretrained(MODEL)
    for name in units:
        one = min(units[name][0], key=lambda one: one.duration_s or 0.0)
        sound = one.audio * np.float32(1 / 32768) if one.audio.dtype == np.int16 else one.audio
        values = processor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        with torch.inference_mode():
            expected, found = theirs.eval()(values).logits[0], ours.eval()(values).logits[0]
        assert (found - expected).abs().max() < 1e-4, one.id
        text = greedy(found.log_softmax(-1).numpy(), vocabulary, 0.02).text
        assert len(text) > 10
        assert processor.batch_decode([expected.argmax(-1)]) == [text]


def test_the_checkpoint_holds_half_precision_and_nothing_of_its_training() -> None:
    transformers = pytest.importorskip("transformers")
    told = {"config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json"}
    assert {str(path.relative_to(MODEL)) for path in MODEL.rglob("*")} == told | {"model.safetensors"}
    with safe_open(MODEL / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118
        assert file.metadata() == {"format": "pt"}
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Wav2Vec2ForCTC"] and config["dtype"] == "float16"
    assert config.keys() <= transformers.Wav2Vec2Config().to_dict().keys()
    assert not [value for name in told for value in _strings(json.loads((MODEL / name).read_text())) if "/" in value]


def _strings(value: Any) -> Iterator[str]:
    """The texts in what a JSON file holds; </s> is a label, and no path."""
    if isinstance(value, dict):
        for held in value.values():
            yield from _strings(held)
    elif isinstance(value, list):
        for held in value:
            yield from _strings(held)
    elif isinstance(value, str) and not value.startswith("<"):
        yield value


def test_all_of_it_is_small_enough_for_a_repository() -> None:
    """In bytes, as files; disks and git add theirs."""
    limits = {MODEL: 8_000_000, LM.parent: 3_000_000, CORPUS: 6_000_000}
    sizes = {folder: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) for folder in limits}
    assert all(sizes[folder] < limit for folder, limit in limits.items()), sizes
    others = {path.name for path in ASSETS.iterdir()} - {folder.name for folder in limits}
    assert others == {FIGURES.name, SUITE.name}


# ---- the same however it is run


def test_neither_neighbours_nor_order_nor_budgets_change_what_is_heard(
    units: dict[str, list[list[Recording]]], decoders: dict[str, plan.RunStage]
) -> None:
    """Real emissions, whose close calls random ones have not: alone in fp32 is what is right."""
    some = [*units["flac"], units["parquet"][0], units["webdataset"][0]]
    joined = [one for unit in some for one in unit]
    assert len(joined) >= 30
    alone = encoded([[one] for one in joined])
    ways = {
        "in units": encoded(some),
        "backwards": encoded([unit[::-1] for unit in some[::-1]]),
        "in small batches": encoded([joined], batch_s=5.0),
        "in one batch": encoded([joined], batch_s=600.0),
    }
    for decoder in decoders.values():
        expected = decoded(decoder, alone)
        for how, emitted in ways.items():
            found = decoded(decoder, emitted)
            assert found.keys() == expected.keys()
            for name, one in found.items():
                assert np.abs(emitted[name].emissions - alone[name].emissions).max() < 1e-4, (how, name)
                assert one.text == expected[name].text, (how, name)
                assert _placed(one) == _placed(expected[name]), (how, name)
                assert _confidences(one) == pytest.approx(_confidences(expected[name]), abs=1e-4), (how, name)


def _placed(one: Recording) -> list[tuple[str, float, float]]:
    return [(word.word, word.start_s, word.end_s) for word in one.words or []]


def _confidences(one: Recording) -> list[float | None]:
    return [one.confidence, *(word.confidence for word in one.words or [])]


def test_a_run_that_is_killed_and_goes_on_gives_each_row_once_and_the_same(
    run: Run, units: dict[str, list[list[Recording]]], tmp_path: Path
) -> None:
    """Windows, failures, four codecs and the language model among it; every process of it gets SIGKILL."""
    num_units, again, log = len(units["manifest"]), tmp_path / "again", tmp_path / "log"
    encode = run.info()["config"]["encode"]
    more = ("--lm", str(LM), "--keep-emissions", "--set", f"encode.threads={encode['threads']}", *HERE)
    argv = command(CORPUS / "manifest", again, MODEL, *more)
    kept: dict[Path, bytes] = {}  # commits, which tell when they were made
    for num in KILLED_AT:
        process = started(argv, log)
        while not (again / "commits").exists() or num_commits(again) < num:
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert {path: path.read_bytes() for path in kept} == kept
        kept = {path: path.read_bytes() for path in (again / "commits").glob("[!.]*")}
        assert num <= len(kept) < num_units
    assert started(argv, log).wait() == 0, log.read_text()
    assert {path: path.read_bytes() for path in kept} == kept
    assert num_commits(again) == num_units
    assert [*map(_own, rows(again))] == [_own(row) for row in rows(run.folder.url) if row["dataset"] == "manifest"]
    check_nothing_else_is_left(again)


def _own(row: dict[str, Any]) -> dict[str, Any]:
    """What a run makes of a recording, whether alone or as one of a dataset."""
    return {name: row[name] for name in SCHEMA.names} | {"id": row["id"].removeprefix("manifest/")}


def test_windows_hear_what_is_heard_in_one_piece(
    run: Run, units: dict[str, list[list[Recording]]], decoders: dict[str, plan.RunStage]
) -> None:
    """Those that the demo's run took through the layers in windows. Who sees less far differs a little anywhere."""
    long = [one for unit in units["manifest"] for one in unit if (one.duration_s or 0.0) > EncodeConfig.whole_s]
    whole = encoded([[one] for one in long], whole_s=1_000.0)
    stored = [commit.emissions for commit in run.commits().values() if commit.emissions]
    windowed = {name: kept.emissions for each in stored for name, kept in read(run.folder, each).items()}
    assert len(whole) == 2
    for name, one in whole.items():
        assert not np.array_equal(rounded(one.emissions), windowed[name])  # they are two ways
        assert np.mean(one.emissions.argmax(axis=1) != windowed[name].argmax(axis=1)) < 0.03, name
    texts = {row["id"]: str(row["text"]) for row in rows(run.folder.url)}
    at_once = {name: one.text or "" for name, one in decoded(decoders["with_lm"], whole).items()}

    def errors(pairs: Iterable[tuple[str, str]]) -> float:
        return sum((count_words(said, heard) for said, heard in pairs), ErrorCounts()).rate or 0.0

    assert errors((at_once[one.id], texts[one.id]) for one in long) < 0.02
    said = [(one.reference or "", one.id) for one in long]
    better = errors((reference, at_once[name]) for reference, name in said)
    assert errors((reference, texts[name]) for reference, name in said) < better + 0.01
