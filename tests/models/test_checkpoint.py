"""Checkpoint directories, good and bad, on a module small enough to see through.

It does not know any model family; the families' own tests load whole models.
"""

import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.models.checkpoint import WEIGHT_NORM_ENDINGS, NameTable, load_into, to_save
from pipeline.models.weight_files import CheckpointError, read_config, read_weights, write_file

NAMES = NameTable(
    prefix="body.", may_leave=("*unused",), may_lack=("*counted", "*made"), weight_normed=("*first.weight",)
)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 6, 3)
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("counted", torch.tensor(0))
        self.register_buffer("made", torch.tensor(5.0, device="cpu"))


class Toy(nn.Module):
    """A body with a head, named as one of the heads that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.classifier = nn.Linear(6, 2)


def toy_weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(weight.shape, generator=generator) for name, weight in Toy().named_parameters()}
    return weights | {"body.steps": torch.tensor(7), "body.counted": torch.tensor(8), "body.made": torch.tensor(6.0)}


def loaded(weights: dict[str, Tensor], names: NameTable = NAMES) -> Toy:
    with torch.device("meta"):
        model = Toy()
    load_into(model, weights, names, "some/model", "toy head")
    return model


def write_shards(directory: Path, extension: str, save: Callable[[dict[str, Tensor], Path], Any]) -> Path:
    """Two shards and their index, whose path is returned."""
    weights = toy_weights()
    stem = "model" if extension == "safetensors" else "pytorch_model"
    weight_map = {name: f"{stem}-0000{1 + place % 2}-of-00002.{extension}" for place, name in enumerate(weights)}
    for shard in set(weight_map.values()):
        save({name: weight for name, weight in weights.items() if weight_map[name] == shard}, directory / shard)
    index = directory / f"{stem}.{extension}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


# What every way of storing weights must have in common: the same tensors come back.


@pytest.mark.parametrize("kind", ["safetensors", "sharded safetensors", "bin", "bin before 1.6", "sharded bin"])
def test_every_kind_of_file_gives_back_the_same_weights(kind: str, tmp_path: Path) -> None:
    """The risk: one of the five kinds rots, since most checkpoints are of one kind."""
    weights = toy_weights()
    if kind == "safetensors":
        save_file(weights, tmp_path / "model.safetensors")
    elif kind == "sharded safetensors":
        write_shards(tmp_path, "safetensors", save_file)
    elif kind == "sharded bin":
        write_shards(tmp_path, "bin", torch.save)
    else:
        torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=kind == "bin")
    read = read_weights(tmp_path)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weight) for name, weight in weights.items())


def test_safetensors_win_over_a_pickle(tmp_path: Path) -> None:
    """The risk: a pickle opened where a file that cannot run code lies beside it."""
    save_file(toy_weights(), tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert read_weights(tmp_path).keys() == toy_weights().keys()


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    """The risk: downloading a model runs its author's code; or the message tells users how to let it."""
    trap = tmp_path / "sprung"

    class Malicious:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(trap),)

    for is_new_format in (True, False):
        path = tmp_path / "pytorch_model.bin"
        torch.save({"w": Malicious()}, path, _use_new_zipfile_serialization=is_new_format)
        with pytest.raises(CheckpointError, match=re.escape(str(path)) + " is refused.*posix.mkdir") as caught:
            read_weights(tmp_path)
        assert "weights_only" not in str(caught.value)
    assert not trap.exists()


# Files that cannot be read: every message names the file.


def test_a_directory_without_weights_says_what_was_looked_for(tmp_path: Path) -> None:
    """The risk: a half-finished download, reported as anything else."""
    with pytest.raises(CheckpointError, match=r"has no weights: looked for model\.safetensors.*pytorch_model\.bin"):
        read_weights(tmp_path)


@pytest.mark.parametrize("kept", [0, 3, 200, 0.5, 0.99], ids=str)
@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin", "old pytorch_model.bin"])
def test_a_cut_off_file_is_named(kind: str, kept: float, tmp_path: Path) -> None:
    """The risk: an interrupted download that loads in part, or fails with a reader's own error."""
    path = tmp_path / kind.removeprefix("old ")
    if path.suffix == ".bin":
        torch.save(toy_weights(), path, _use_new_zipfile_serialization=not kind.startswith("old"))
    else:
        save_file(toy_weights(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        b"<!DOCTYPE html><html></html>",
        struct.pack("<Q", 2**60) + b"{}",
        b"\x80\x02}q\x00.",
        b"PK\x03\x04" + b"\0" * 100,
    ],
    ids=["lfs pointer", "web page", "huge header", "empty pickle", "zip head"],
)
def test_a_file_of_something_else_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    """The risk: what a failed download leaves behind, under the name of a model."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "list"),
        ({"model": {"w": torch.ones(1)}}, "model is a dict"),
        ({3: torch.ones(1)}, "3"),
    ],
    ids=["list", "nested", "number as name"],
)
def test_a_pickle_of_something_other_than_weights_by_name_is_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    """The risk: a training checkpoint passed off as a model."""
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin holds.*{message}"):
        read_weights(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """The risk: one of ten files not downloaded."""
    write_shards(tmp_path, "safetensors", save_file)
    lost = tmp_path / "model-00002-of-00002.safetensors"
    lost.unlink()
    with pytest.raises(CheckpointError, match=re.escape(str(lost))):
        read_weights(tmp_path)


def test_a_weight_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    """The risk: shards of two versions of a model in one directory."""
    index = write_shards(tmp_path, "safetensors", save_file)
    content = json.loads(index.read_text())
    content["weight_map"]["ghost.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"index\.json.*1 missing \(ghost\.weight\)"):
        read_weights(tmp_path)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/etc/passwd", "sub/a.safetensors", ".."])
def test_an_index_cannot_point_outside_its_directory(shard: str, tmp_path: Path) -> None:
    """The risk: a downloaded index that opens files of ours."""
    inner = tmp_path / "model"
    inner.mkdir()
    save_file(toy_weights(), tmp_path / "elsewhere.safetensors")
    (inner / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(CheckpointError, match=re.escape(shard)):
        read_weights(inner)


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"w": 3}}', "[]", "{", ""])
def test_a_broken_index_is_named(content: str, tmp_path: Path) -> None:
    """The risk: a traceback about types instead of the file at fault."""
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'"text"', b"\xff\xfe{}"], ids=str)
def test_a_missing_or_broken_config_is_named(content: bytes | None, tmp_path: Path) -> None:
    """The risk: a directory that is no model, reported without saying which."""
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        read_config(tmp_path)


def test_a_path_that_is_no_directory_is_named(tmp_path: Path) -> None:
    """The risk: a Hub id or a typing error, answered with "config.json is missing"."""
    with pytest.raises(CheckpointError, match="facebook/wav2vec2-base-960h is not a directory"):
        read_config("facebook/wav2vec2-base-960h")


# From weights to a model.


def test_a_loaded_model_holds_exactly_the_weights_and_can_be_trained() -> None:
    """The risk: a parameter left on the meta device, or without a gradient."""
    weights = toy_weights()
    model = loaded(weights)
    state = model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())
    assert all(weight.requires_grad for weight in model.parameters())


@settings(max_examples=60, deadline=None)
@given(
    has_prefix=st.lists(st.booleans(), min_size=3, max_size=3),
    style=st.sampled_from(["plain", "weight_g", "parametrizations"]),
    wants_head=st.booleans(),
    others=st.sets(st.sampled_from(["lm_head.weight", "tdnn.0.kernel.bias", "quantizer.codevectors", "layer_weights"])),
    unused=st.sampled_from([[], ["unused"], ["body.unused"]]),
)
def test_every_spelling_of_the_names_gives_the_same_model(
    has_prefix: list[bool], style: str, wants_head: bool, others: set[str], unused: list[str]
) -> None:
    """The risk: an old and a new habit in one checkpoint, which each rule handles but not both together."""
    weights = toy_weights()
    names = ["body.first.weight", "body.first.bias", "body.steps"]
    pairs = zip(names, has_prefix, strict=True)
    spelt = {name: name if prefixed else name.removeprefix("body.") for name, prefixed in pairs}
    found = {spelt.get(name, name): weight for name, weight in weights.items()}
    if style != "plain":
        direction = found.pop(spelt["body.first.weight"])
        stem = spelt["body.first.weight"].removesuffix(".weight")
        endings = WEIGHT_NORM_ENDINGS[style == "parametrizations"]
        gain = direction.norm(dim=(0, 1), keepdim=True)
        found |= {stem + endings[0]: gain, stem + endings[1]: 3 * direction}
    found |= dict.fromkeys([*others, *unused], torch.ones(1, dtype=torch.int8))
    with torch.device("meta"):
        model: nn.Module = Toy() if wants_head else Body()
    left = load_into(model, found, NAMES, "some/model")
    assert list(left) == ["body.unused" if wants_head else "unused"] * len(unused)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, weights[name if wants_head else f"body.{name}"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_fp32(dtype: torch.dtype) -> None:
    """The risk: a half-precision checkpoint that silently computes, or fails, in half precision."""
    weights = toy_weights()
    model = loaded({name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items()})
    assert model.body.first.weight.dtype == model.classifier.bias.dtype == torch.float32
    assert torch.equal(model.body.first.weight, weights["body.first.weight"].to(dtype).float())
    assert model.body.steps.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantised_weights_are_refused_by_name(dtype: torch.dtype) -> None:
    """The risk: quantised numbers taken at face value without their scales."""
    weights = toy_weights()
    with pytest.raises(CheckpointError, match=rf"some/model: classifier\.weight is of type {dtype}"):
        loaded(weights | {"classifier.weight": weights["classifier.weight"].to(dtype)})


def test_a_buffer_of_another_type_is_refused_by_name() -> None:
    """The risk: a counter read from rounded floats."""
    with pytest.raises(CheckpointError, match=r"steps is of type torch\.float32, expected torch\.int64"):
        loaded(toy_weights() | {"body.steps": torch.tensor(7.0)})


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(number: float) -> None:
    """The risk: a checkpoint that overflowed as it was made half, and a night of emissions that are not numbers."""
    weights = toy_weights()
    weights["body.first.bias"][2] = number
    with pytest.raises(CheckpointError, match=r"some/model: body\.first\.bias holds what is not a number"):
        loaded(weights)


def test_a_buffer_that_no_checkpoint_holds_is_not_left_without_data() -> None:
    """The risk: a table of positions that was computed on the meta device, found when the first recording comes."""
    with torch.device("meta"):
        model = Toy()
        model.body.register_buffer("table", torch.arange(3), persistent=False)
    with pytest.raises(RuntimeError, match=r"body\.table"):
        load_into(model, toy_weights(), NAMES, "some/model")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")  # the old style is the point
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("style", ["old", "new"])
def test_weight_norm_folds_to_what_torch_computes(style: str, dim: int) -> None:
    """The risk: the norm taken over the wrong dimensions, which only changes numbers."""
    conv = nn.Conv1d(4, 6, 3)
    make = torch.nn.utils.weight_norm if style == "old" else torch.nn.utils.parametrizations.weight_norm
    make(conv, dim=dim)
    generator = torch.Generator().manual_seed(3)
    for weight in conv.parameters():
        weight.data = torch.randn(weight.shape, generator=generator)
    conv(torch.zeros(1, 4, 3))  # the old style computes its weight in a hook before forward
    expected = conv.weight.detach().clone()
    stored = {f"body.first.{name}": weight for name, weight in conv.state_dict().items()}
    assert "body.first.weight" not in stored
    rest = {name: weight for name, weight in toy_weights().items() if not name.startswith("body.first.")}
    torch.testing.assert_close(loaded(stored | rest).body.first.weight, expected, atol=1e-6, rtol=1e-6)


def test_a_gain_of_the_wrong_shape_is_refused() -> None:
    """The risk: a gain that broadcasts to something."""
    weights = toy_weights()
    direction = weights.pop("body.first.weight")
    for gain in (torch.ones(1, 1, 2), torch.ones(3), torch.ones(6, 4, 3)):
        with pytest.raises(CheckpointError, match=r"first\.weight_g has shape"):
            loaded(weights | {"body.first.weight_g": gain, "body.first.weight_v": direction})


def test_half_a_weight_norm_pair_is_reported() -> None:
    """The risk: a gain without its direction, dropped as unused."""
    with pytest.raises(CheckpointError, match=r"1 unknown \(body\.first\.weight_g\)"):
        loaded(toy_weights() | {"body.first.weight_g": torch.ones(1, 1, 3)})


def test_one_weight_under_two_names_is_refused() -> None:
    """The risk: the order of a file decides which of two weights is used."""
    weights = toy_weights()
    pair = {"body.first.weight_g": torch.ones(1, 1, 3), "body.first.weight_v": weights["body.first.weight"]}
    for twice in ({"first.bias": weights["body.first.bias"]}, pair):
        with pytest.raises(CheckpointError, match="there twice"):
            loaded(weights | twice)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_what_may_lack_is_as_the_model_made_it_or_zero(dtype: torch.dtype | None) -> None:
    """The risk: a checkpoint refused for a counter that no inference reads, or that was halved with all the rest; a
    value that is there and not taken."""
    weights = toy_weights()
    assert (loaded(weights).body.counted, loaded(weights).body.made) == (8, 6)
    for name in ("body.counted", "body.made"):
        if dtype is None:
            del weights[name]
        else:
            weights[name] = weights[name].to(dtype)
    body = loaded(weights).body
    assert (body.counted.item(), body.made.item()) == (0, 5 if dtype is None else 6)
    assert (body.counted.dtype, body.made.dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_names_of_another_kind_are_told_as_such(prefix: str) -> None:
    """The risk: weights as a training wrapper names them, reported as a model that was never fine-tuned."""
    told = rf"some/model: no weight has a name that the model knows: 7 there \({prefix}body.*, 7 wanted \(body\."
    with pytest.raises(CheckpointError, match=told):
        loaded({prefix + name: weight for name, weight in reversed(toy_weights().items())})


def test_missing_and_unknown_weights_are_both_listed_and_counted() -> None:
    """The risk: a model that runs on initial values, or one of another architecture that half fits."""
    weights = toy_weights()
    del weights["body.first.bias"]
    extra = {f"extra.{index}": torch.ones(1) for index in range(9)}
    with pytest.raises(CheckpointError, match=r"1 missing \(body\.first\.bias\), 9 unknown \(extra\.0.*\.\.\.\)"):
        loaded(weights | extra)


def test_more_of_the_models_own_head_is_not_taken_for_another_head() -> None:
    """The risk: a deeper head than ours, of which only the part that we know is used."""
    with pytest.raises(CheckpointError, match=r"1 unknown \(classifier\.scale\)"):
        loaded(toy_weights() | {"classifier.scale": torch.ones(1)})


def test_a_shape_that_differs_is_reported_with_name_and_both_shapes() -> None:
    """The risk: a broadcast or a bare size mismatch that does not say where."""
    with pytest.raises(CheckpointError, match=r"some/model: classifier\.bias has shape \(3,\).*\(2,\)"):
        loaded(toy_weights() | {"classifier.bias": torch.ones(3)})


def test_a_missing_head_is_told_apart_from_missing_weights() -> None:
    """The risk: "2 missing" where the user needs to hear that this is not a fine-tuned model."""
    weights = {name: weight for name, weight in toy_weights().items() if not name.startswith("classifier.")}
    with pytest.raises(CheckpointError, match=r"some/model has no toy head \(classifier\)"):
        loaded(weights)
    with pytest.raises(CheckpointError, match=r"1 missing \(classifier\.bias\)"):
        loaded(weights | {"classifier.weight": torch.ones(2, 6)})


# And back.


def test_what_is_written_is_what_was_loaded(tmp_path: Path) -> None:
    """The risk: a weight norm split along another dimension than transformers joins it."""
    weights = toy_weights()
    write_file(to_save(loaded(weights).state_dict(), NAMES), tmp_path / "model.safetensors")
    saved = read_weights(tmp_path)
    assert saved["body.first.parametrizations.weight.original0"].shape == (1, 1, 3)
    for name, weight in loaded(saved).state_dict().items():
        torch.testing.assert_close(weight, weights[name])


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """The risk: a full disk that takes the old model with it."""
    path = tmp_path / "model.safetensors"
    write_file(toy_weights(), path)
    whole = path.read_bytes()
    shared = torch.ones(3)
    with pytest.raises(RuntimeError, match="share memory"):
        write_file({"a": shared, "b": shared}, path)
    assert path.read_bytes() == whole
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]
