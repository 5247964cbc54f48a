"""`nightshift bench encode`: its figures are claims, so what it compares, counts and calls an error must be right."""

import importlib.util
import json
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jobs import bench, bench_encode_contestants, bench_encode_material, bench_flops
from jobs.__main__ import main
from jobs.bench_encode_material import Sound, config_of, lengths_s, sounds, write_checkpoint
from jobs.bench_encode_parts import Mel, Seam
from jobs.bench_encode_rounds import (
    ALONE,
    DOCUMENTED,
    OURS,
    RIVAL,
    SORTED,
    Contestant,
    Judge,
    Work,
    race,
    results,
)
from jobs.bench_encode_tables import Tables
from jobs.bench_measure import Spread
from pipeline.demo.sample import LABELS
from pipeline.models.auto import AutoConfig, AutoModelForCTC
from pipeline.text.vocabulary import Vocabulary

TINY = ("--size", "tiny", "--num-recordings", "2", "--rounds", "2")


@pytest.fixture
def encode(capsys):
    def run(*arguments):
        code = main(["bench", "encode", *arguments])
        return (code, *capsys.readouterr())

    return run


def by_name(figures):
    return {(one["who"], one["precision"], one["setting"]): one for one in figures["results"]}


def test_the_whole_of_it_ends_in_one_json_object(encode):
    """The risk: a benchmark that nobody can run any more, or whose last line no program can read."""
    pytest.importorskip("transformers")
    code, stdout, stderr = encode(*TINY, "--precision", "fp32", "--precision", "bf16")
    assert code == 0, stderr
    figures = json.loads(stdout.splitlines()[-1])
    for told in ("audio s / CPU s", "of peak", "one by one", "documented batches", "packed", "rms"):
        assert told in stdout
    found = by_name(figures)
    settings = [
        (RIVAL, p, f"{way}{cast}") for p in ("fp32", "bf16") for cast in ("", ", cast") for way in (ALONE, SORTED)
    ]
    assert set(found) == {
        *(one for one in settings if one[1:] not in [("fp32", f"{way}, cast") for way in (ALONE, SORTED)]),
        (RIVAL, "fp32", DOCUMENTED),
        (OURS, "fp32", "packed"),
        (OURS, "bf16", "packed"),
    }
    assert sum(one["best"] for one in found.values()) == 2  # of each precision
    assert figures["reference"] == RIVAL
    assert figures["compiled_late"] == []
    assert found[RIVAL, "fp32", ALONE]["errors"]["largest"] == 0
    ours = found[OURS, "fp32", "packed"]
    assert ours["errors"]["rms"] < 1e-5 and ours["errors"]["changed_texts"] == 0
    assert len(ours["seconds"]) == 2 and ours["audio_s_per_s"] > 0 and ours["share_of_peak"] > 0
    assert ours["times_fp32"]["least"] <= ours["times_fp32"]["median"] <= ours["times_fp32"]["most"]
    # Two recordings of unlike lengths in one batch: a group norm hears the padding.
    assert found[RIVAL, "fp32", DOCUMENTED]["errors"]["rms"] > 0.01 > found[OURS, "bf16", "packed"]["errors"]["rms"] / 3


def test_without_the_rival_ours_is_measured_alone_and_the_way_to_it_is_told(encode, monkeypatch):
    """The risk: a benchmark that needs what no user has installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    code, _, stderr = encode(*TINY)
    assert code == 2
    assert "transformers" in stderr and "'.[dev]'" in stderr and "--no-rival" in stderr
    code, stdout, stderr = encode(*TINY, "--no-rival", "--precision", "bf16")
    assert code == 0, stderr
    assert "x documented" not in stdout
    figures = json.loads(stdout.splitlines()[-1])
    assert figures["reference"] == OURS
    (only,) = figures["results"]
    assert (only["precision"], only["times_fp32"], only["times_same"], only["times_documented"]) == (
        "bf16",
        *[None] * 3,
    )
    assert 0 < only["errors"]["rms"] < 0.1


def test_the_tables_of_mel_features_and_seams(capsys):
    """The risk: tables that only break once minutes of measuring are over."""
    tables = Tables(quiet=False)
    tables.mel(Mel(4000.0, 800.0, Spread(5.0, 4.0, 6.0), 1e-5), "CPU s")
    tables.mel(Mel(4000.0, None, None, None), "CPU s")
    tables.seams([Seam(120.0, 60.0, 5.0, 0.01, 0.1, 0.002, True)])
    told = capsys.readouterr().out
    assert "5.00 (4.00-6.00) times SeamlessM4TFeatureExtractor's 800" in told
    assert "recording of 120 s" in told and "60 s (default)" in told and "0.2%" in told


def test_mel_features_and_seams_are_measured_where_they_are_asked_for(encode, monkeypatch):
    """The risk: sections that only run by hand, and so break unseen."""
    pytest.importorskip("transformers")
    monkeypatch.setattr("jobs.bench_encode_parts.LONG_S", 6.0)
    code, stdout, stderr = encode("--family", "bert", *TINY, "--precision", "fp32", "--seams", "--json")
    assert code == 0, stderr
    figures = json.loads(stdout)
    assert figures["mel"]["times_rival"]["median"] > 0
    assert figures["mel"]["largest_error"] < 1e-3
    assert sum(seam["by_default"] for seam in figures["seams"]) == 1
    assert all(0 <= seam["changed_frames"] <= 1 and seam["rms"] <= seam["largest"] for seam in figures["seams"])
    assert by_name(figures)[OURS, "fp32", "packed"]["errors"]["largest"] < 1e-4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--seams"], "--seams is an option of `bench encode`"),
        (["decode", "--model", "x"], "--model is an option of `bench run` and `bench encode`"),
        (["encode", "--set", "run.cpus=1"], "--set is an option of `bench run`"),
        (["encode", "--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["encode", "--seconds", "nan"], "--seconds must be at least 0.1"),
        (["encode", "--model", "x", "--size", "tiny"], "--family and --size are for the model that is made"),
        (["encode", "--device", "cuda"], "no GPU"),
    ],
)
def test_options_that_cannot_be(capsys, monkeypatch, arguments, told):
    """The risk: an option that is silently another kind's, or a figure over nothing."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_an_option_that_kinds_share_has_the_default_of_each(monkeypatch):
    """The risk: 2,000 recordings encoded where six are meant, because another kind's default was taken."""
    seen = {}
    for kind, module in bench.KINDS.items():
        monkeypatch.setattr(module, "run", lambda options, kind=kind: seen.update({kind: vars(options)}) or 0)
    assert main(["bench", "run"]) == main(["bench", "encode"]) == main(["bench", "decode", "--json"]) == 0
    assert (seen["run"]["num_recordings"], seen["encode"]["num_recordings"]) == (2000, None)
    assert seen["run"]["overrides"] == [] and "overrides" not in seen["encode"]
    assert seen["decode"]["json"] and not seen["run"]["json"]
    assert main(["bench", "encode", "--num-recordings", "3", "--precision", "fp32", "--precision", "int8"]) == 0
    assert (seen["encode"]["num_recordings"], seen["encode"]["precision"]) == (3, ["fp32", "int8"])


# ---- what is compared


def test_recordings_are_as_long_as_speech_is_and_the_same_each_time():
    """The risk: figures of two runs over different audio, or over lengths that flatter one side."""
    for num, tolerance in ((6, 0.3), (200, 0.1)):
        lengths = lengths_s(num)
        assert np.mean(lengths) == pytest.approx(12, abs=tolerance)
        assert min(lengths) >= 1 and max(lengths) <= 35
    assert max(lengths) > 30 and min(lengths) < 2
    first, again = sounds([1.0, 2.5]), sounds([1.0, 2.5])
    assert [one.seconds for one in first] == [1.0, 2.5]
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pcm, other.pcm) and one.pcm.std() > 100
        assert np.array_equal(one.samples, one.pcm / np.float32(32768)) and one.samples.dtype == np.float32


@pytest.mark.parametrize("family", ["wav2vec2", "conformer", "bert"])
def test_the_checkpoint_that_is_made_is_one_that_both_sides_load_whole(family, tmp_path):
    """The risk: a comparison of two models, one of which made up a weight that it did not find."""
    transformers = pytest.importorskip("transformers")
    write_checkpoint(tmp_path, family, "tiny")
    _, told = transformers.AutoModelForCTC.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["unexpected_keys"] and not told["mismatched_keys"]
    # A conformer's positional convolution is in its checkpoints, and never used.
    assert all("pos_conv_embed" in name for name in told["missing_keys"])
    model = AutoModelForCTC.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(Vocabulary.from_pretrained(tmp_path).labels) == len(LABELS)
    assert bench_encode_material.num_parameters(model.config) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_frames_of_the_model_that_is_made_have_unlike_labels(norm):
    """The risk: a deep random model says the same in every frame; no error could then change a label or a text."""
    config = config_of("wav2vec2", "tiny") | {"feat_extract_norm": norm, "num_hidden_layers": 12}
    kind = AutoModelForCTC.class_of("wav2vec2", "")
    model = kind(kind.config_class.from_dict(config)).eval()
    bench_encode_material.draw(model)
    with torch.inference_mode():
        logits = model(torch.from_numpy(sounds([4.0])[0].samples)[None] * 10).logits[0]  # (T, V)
    shares = logits.argmax(dim=1).bincount() / len(logits)
    assert shares.max() < 0.6
    assert (logits - logits.mean(dim=0)).std() > 0.4 * logits.std()


def test_documented_batches_are_eight_as_they_come_and_sorted_ones_keep_to_the_budget():
    """The risk: a rival that is held back by batches that nobody would make."""
    audio = [Sound(np.zeros(1000 * n, np.int16), np.zeros(1000 * n, np.float32)) for n in (5, 1, 4, 2, 3, 9, 8, 7, 6)]
    setting = bench_encode_contestants.Setting(SimpleNamespace(), SimpleNamespace(), "cpu", 12_000 / 16_000)
    assert list(bench_encode_contestants._as_they_come(audio)) == [[0, 1, 2, 3, 4, 5, 6, 7], [8]]
    assert list(bench_encode_contestants._one_by_one(audio[:2])) == [[0], [1]]
    batches = list(setting.by_length(audio))
    lengths = [[len(audio[number].pcm) for number in batch] for batch in batches]
    assert sorted(chain(*batches)) == list(range(9))
    assert all(sum(batch) <= 12_000 for batch in lengths)
    assert list(chain(*lengths)) == sorted(chain(*lengths), reverse=True)


# ---- what is measured


class Ticks:
    """A clock that only the contestants move."""

    unit, on_gpu, now = "s", False, 0.0

    def __call__(self):
        return self.now


def contestant(clock, who, precision, setting, takes):
    """Takes so long in each round, by turns; the warm-up takes nothing."""
    calls = iter([0.0, *takes])

    def encode(audio):
        clock.now += next(calls)
        return [torch.zeros(2, 3) for _ in audio]

    return Contestant(who, precision, setting, encode)


def test_ratios_are_of_one_round_and_the_rival_is_at_its_best():
    """The risk: a machine that slows down between two contestants, or a rival that is held to a slow setting."""
    clock = Ticks()
    entered = [
        contestant(clock, RIVAL, "fp32", ALONE, [10, 20, 40]),
        contestant(clock, RIVAL, "fp32", SORTED, [11, 18, 36]),
        contestant(clock, RIVAL, "fp32", DOCUMENTED, [5, 5, 5]),  # not one of those that count as its best
        contestant(clock, RIVAL, "bf16", ALONE, [4, 9, 16]),
        contestant(clock, RIVAL, "bf16", SORTED, [6, 1, 1]),  # so slow at first that it sits the rest out
        contestant(clock, OURS, "bf16", "packed", [2, 3, 8]),
    ]
    measured = race(entered, sounds([0.1]), 3, clock)
    assert [len(seconds) for seconds in measured.seconds] == [3, 3, 3, 3, 1, 3]
    alone, _, documented, best, slow, ours = results(measured, Work(60.0, 600.0, 20.0), lambda logits: None)
    assert measured.best("fp32") == 1 and alone.times_fp32 == Spread(0.9, 0.9, 1.1)
    assert best.best and not slow.best and not documented.best
    assert ours.times_fp32 == Spread(5.5, 4.5, 6.0)
    assert ours.times_same == Spread(2.0, 2.0, 3.0)
    assert ours.times_documented == Spread(5 / 3, 5 / 8, 2.5)
    assert (ours.audio_s_per_s, ours.share_of_peak) == (20.0, 10.0)
    assert best.times_same is None and slow.times_same == Spread(4 / 6, 4 / 6, 4 / 6)


def test_no_contestant_is_always_first():
    """The risk: whoever comes first finds the caches, or the chip, in another state."""
    clock, order = Ticks(), []
    entered = [Contestant(OURS, str(n), "packed", lambda audio, n=n: order.append(n) or []) for n in range(4)]
    race(entered, sounds([0.1]), 4, clock)
    rounds = [order[first : first + 4] for first in range(4, 20, 4)]  # after the warm-up
    assert [one[0] for one in rounds] == [0, 1, 2, 3]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)


def test_errors_are_of_the_standard_deviation_and_of_real_frames_alone(tmp_path):
    """The risk: padding counted as error, or as agreement; a mean over recordings that hides the worst."""
    write_checkpoint(tmp_path, "wav2vec2", "tiny")
    vocabulary = Vocabulary.from_pretrained(tmp_path)
    generator = torch.Generator().manual_seed(0)
    reference = [torch.randn(length, 32, generator=generator) for length in (7, 5)]
    std = float(torch.cat(reference).std())
    judge = Judge(reference, [7, 5], vocabulary)
    padded = [torch.cat((reference[0], torch.full((3, 32), 9.0))), reference[1]]
    same = judge(padded)
    assert (same.largest, same.rms, same.changed_frames, same.changed_texts, same.changed_chars) == (0, 0, 0, 0, 0)
    other = [reference[0], reference[1].clone()]
    other[1][2, 20] += 6.0  # now the best label of this frame: a letter more, or another
    errors = judge(other)
    assert errors.largest == pytest.approx(6 / std)
    assert errors.rms == pytest.approx(6 / std / np.sqrt(12 * 32))
    assert (errors.changed_frames, errors.changed_texts) == (1 / 12, 1 / 2)
    assert 0 < errors.changed_chars < 0.5
    assert Judge(reference, [7, 5], None)(other).changed_texts is None
    with pytest.raises(ValueError, match="frames"):
        judge([reference[0][:6], reference[1]])
    other[0][0, 0] = torch.nan
    assert judge(other) is None


# ---- arithmetic


VARIANTS = {
    "group": ("wav2vec2", {}),
    "layer": ("wav2vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "adapter_attn_dim": 8}),
    "odd convolutions": ("wav2vec2", {"conv_dim": [8, 24], "conv_kernel": [7, 5], "conv_stride": [4, 3]}),
    "adapter": ("wav2vec2", {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 48}),
    "conformer": ("conformer", {"position_embeddings_type": None}),
    "rotary conformer": ("conformer", {"position_embeddings_type": "rotary"}),
    "relative conformer": ("conformer", {"position_embeddings_type": "relative"}),
    "bert": ("bert", {"position_embeddings_type": None}),
    "bert adapter": (
        "bert",
        {"position_embeddings_type": None, "add_adapter": True, "use_intermediate_ffn_before_adapter": True},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_arithmetic_by_formula_is_what_torch_counts(variant):
    """The risk: a share of the peak that is wrong by the factor by which the formula is."""
    transformers = pytest.importorskip("transformers")
    family, changes = VARIANTS[variant]
    content = config_of(family, "tiny") | changes
    config = AutoModelForCTC.class_of(content["model_type"], "").config_class.from_dict(content)
    frames, num_samples = 60, 60 * 320 + 80
    kind = {"wav2vec2": "Wav2Vec2", "conformer": "Wav2Vec2Conformer", "bert": "Wav2Vec2Bert"}[family]
    made = getattr(transformers, f"{kind}ForCTC")
    model = made._from_config(made.config_class(**content), attn_implementation="eager").eval()
    inputs = torch.randn(1, num_samples) if family != "bert" else torch.randn(1, frames, 160)
    if family == "bert":
        num_samples = 400 + 160 * (2 * frames - 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs)
    counted = counter.get_total_flops()
    if family == "wav2vec2":  # the reference's positional convolution, of even width, makes a frame too many
        per_group = config.hidden_size // config.num_conv_pos_embedding_groups
        counted -= 2 * config.hidden_size * per_group * config.num_conv_pos_embeddings
    if variant == "relative conformer":  # a pass for one recording makes what a batch's recordings share
        length = bench_flops.num_inputs(config, num_samples)
        counted -= config.num_hidden_layers * 2 * (2 * length - 1) * config.hidden_size**2
    assert bench_flops.num_flops(config, num_samples) == counted


def test_arithmetic_of_distances_counts_each_distance_once():
    """The risk: the (T, T, d) table that the rival makes, counted as work that there is to do."""
    plain = AutoModelForCTC.class_of("wav2vec2-bert", "").config_class(position_embeddings_type=None)
    shaw = replace(plain, position_embeddings_type="relative_key")
    frames = bench_flops.num_inputs(plain, 16_000)
    difference = bench_flops.num_flops(shaw, 16_000) - bench_flops.num_flops(plain, 16_000)
    assert difference == plain.num_hidden_layers * 2 * frames * 73 * plain.hidden_size


def test_arithmetic_of_base_is_what_the_literature_of_this_project_says(tmp_path):
    """14.84 GFLOP a second for 10 s of audio in base dimensions, counted layer by layer by hand."""
    write_checkpoint(tmp_path, "wav2vec2", "tiny")
    tiny = AutoConfig.from_pretrained(tmp_path)
    base = type(tiny)(vocab_size=32)
    assert bench_flops.num_flops(base, 160_000) / 10 == pytest.approx(14.84e9, rel=0.01)


def test_peak_is_of_the_clock():
    """The risk: a peak by another clock than the contestants', so that shares compare unlike seconds."""
    ticks = iter(range(100))
    assert bench_flops.peak_flops(torch.device("cpu"), lambda: next(ticks)) == 2 * 1024**3 * 5
