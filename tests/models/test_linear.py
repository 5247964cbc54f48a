"""A prepared layer must give the numbers of the plain one, on any CPU, and refuse what it can no longer do."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models import int8, linear
from pipeline.models.linear import ACTIVATIONS, FusedOnGpu, Linear
from pipeline.models.precision import Precision, prepare

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
# Root mean square errors against the plain layer, in its outputs' standard deviation.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-6, "bf16": 6e-3, "fp16": 1e-3, "int8": 1.5e-2}


def layer(num_in: int, num_out: int, bias: bool = True, activation: str = "", seed: int = 0, **more: Any) -> Linear:
    torch.manual_seed(seed)
    made = Linear(num_in, num_out, bias, activation, **more)
    nn.init.normal_(made.weight, std=num_in**-0.5)
    if bias:
        nn.init.normal_(made.bias, std=0.5)
    return made.requires_grad_(False)


def prepared(made: Linear, precision: Precision) -> Linear:
    twin = copy.deepcopy(made)
    twin.prepare(precision)
    return twin


def error(y: Tensor, expected: Tensor) -> float:
    return float((y.double() - expected.double()).square().mean().sqrt() / expected.double().std())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_what_configs_mean_by_its_name(name: str) -> None:
    known = pytest.importorskip("transformers").activations.ACT2FN
    x = torch.linspace(-12, 12, 4001)
    assert torch.allclose(ACTIVATIONS[name](x), known[name](x), atol=1e-6)


@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 200), st.integers(1, 200)),
    precision=st.sampled_from(PRECISIONS),
    activation=st.sampled_from(["", *ACTIVATIONS]),
    bias=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_prepared_layers_agree_with_the_plain_one(
    shape: tuple[int, int, int], precision: Precision, activation: str, bias: bool
) -> None:
    """Odd sizes, sizes around block boundaries, and every activation, fused or not."""
    rows, num_in, num_out = shape
    plain = layer(num_in, num_out, bias, activation)
    x = torch.randn(rows, num_in)
    expected = plain(x)
    y = prepared(plain, precision)(x)
    assert y.shape == expected.shape
    # Against the size of what goes into the activation: it may be flat, and one number has no deviation.
    scale = float(F.linear(x, plain.weight, plain.bias).square().mean().sqrt()) + 0.1
    assert float((y.float() - expected).square().mean().sqrt()) < 2 * TOLERANCES[precision] * scale


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("activation", ["", "gelu", "gelu_new", "silu", "relu", "mish"])
def test_errors_of_wide_layers_are_those_of_the_precision(precision: Precision, activation: str) -> None:
    plain = layer(512, 384, activation=activation)
    x = torch.randn(3, 70, 512)
    y = prepared(plain, precision)(x)
    assert y.dtype == {"fp32": torch.float32, "fp16": torch.float16}.get(precision, linear.work_dtype("bf16", x.device))
    assert error(y, plain(x)) < TOLERANCES[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_of_any_type_shape_and_layout(precision: Precision) -> None:
    plain = layer(256, 192)
    fast = prepared(plain, precision)
    x = torch.randn(256, 40)
    for given_ in (x.T, x.T.bfloat16(), x.T.half(), x.T.reshape(5, 8, 256), x.T[:1], x.T[0]):
        y = fast(given_)
        assert y.shape == (*given_.shape[:-1], 192)
        assert error(y, plain(given_.float())) < max(TOLERANCES[precision], 3e-3)
    assert fast(x.T[:0]).shape == (0, 192)


# ---- eight bits


@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_eight_bit_layer_agrees_with_its_plain_twin(activation: str, dtype: torch.dtype) -> None:
    """Over several blocks of rows; all that may differ is the rounding to bf16, and a code here and there."""
    torch.manual_seed(1)
    weight = int8.Int8Weight.of(torch.randn(200, 136) / 10, torch.randn(200), torch.randn(136))
    x = (torch.randn(600, 136) * torch.logspace(-3, 3, 600)[:, None]).to(dtype)
    function = ACTIVATIONS[activation or "linear"]
    fused = int8.FUSED.get(function)
    y = int8.fast_linear(x, weight, fused or int8.NONE).float()
    expected = int8.linear(x, weight)
    expected, y = function(expected), y if fused else function(y)
    assert torch.allclose(y, expected, rtol=6e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["gelu", "silu", "relu"])
def test_compiled_activations_are_those_of_torch(name: str) -> None:
    """Far out as well: a sigmoid made of polynomials has places to overflow."""
    from pipeline.models import vectors

    x = torch.cat((torch.linspace(-40, 40, 20_001), torch.tensor([-1e20, -1e4, 0.0, 1e4, 1e20])))
    columns = torch.stack((torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x), x)).numpy()
    out = torch.empty(1, len(x), dtype=torch.bfloat16)
    measures = np.zeros((1, 3), np.float32)
    sums = np.zeros((1, len(x)), np.int32)
    vectors.finish(sums, measures, columns, int8.FUSED[ACTIVATIONS[name]], out.view(torch.uint16).numpy())
    assert torch.allclose(out[0].float(), ACTIVATIONS[name](x), rtol=4e-3, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 16, 17, 24, 100])
def test_the_integer_product_is_exact_for_any_number_of_rows(rows: int) -> None:
    codes = torch.randint(-128, 128, (rows, 64), dtype=torch.int8)
    weight = torch.randint(-127, 128, (40, 64), dtype=torch.int8)
    assert torch.equal(int8.integer_product(codes, weight).long(), codes.long() @ weight.long().T)


def test_a_row_has_its_own_scale() -> None:
    """A loud frame must not cost the quiet ones their digits."""
    plain = layer(256, 256)
    x = torch.randn(40, 256)
    x[7] *= 1e4
    y = prepared(plain, "int8")(x)
    quiet = [row for row in range(40) if row != 7]
    assert error(y[quiet], plain(x)[quiet]) < TOLERANCES["int8"]
    assert error(y[7], plain(x)[7]) < TOLERANCES["int8"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_does_not_depend_on_the_others(precision: Precision) -> None:
    """Emissions must not change with the batch: neither by blocks of rows, nor by what stands in other rows."""
    fast = prepared(layer(256, 192, activation="gelu"), precision)
    x = torch.randn(700, 256)
    everything = fast(x).float()
    x[300:] = torch.nan
    for rows in (slice(0, 1), slice(3, 40), slice(255, 300)):
        alone = fast(x[rows].clone()).float()
        # Which of oneDNN's loops serves how many rows is its own affair.
        tolerance = {"fp32": 1e-6, "int8": 0.0}.get(precision, 1e-2)
        assert torch.allclose(alone, everything[rows], rtol=tolerance, atol=tolerance)
        assert torch.equal(fast(x)[rows].isnan(), torch.zeros_like(alone, dtype=torch.bool))


def test_what_is_not_a_number_stays_so() -> None:
    """Integers have no NaN: a broken recording must not come out as plausible numbers."""
    fast = prepared(layer(256, 192, activation="gelu"), "int8")
    x = torch.randn(4, 256)
    x[1, 5], x[2, 5] = torch.nan, torch.inf
    y = fast(x)
    assert y[1].isnan().all() and not y[2].isfinite().any()
    assert y[0].isfinite().all() and y[3].isfinite().all()


def test_a_constant_row_and_weights_of_nothing_but_zeros() -> None:
    plain = layer(128, 128)
    plain.weight[3:90] = 0.0
    x = torch.stack((torch.zeros(128), torch.full((128,), 3.0), torch.full((128,), -1e-20)))
    assert torch.allclose(prepared(plain, "int8")(x).float(), plain(x), rtol=2e-2, atol=2e-2)


def test_narrow_and_exact_layers_stay_out_of_eight_bits() -> None:
    for made in (layer(256, 32), layer(256, 256, exact=True)):
        made.prepare("int8")
        assert not isinstance(made._fast, int8.Int8Weight | linear.Int8)
    exact = layer(256, 256, exact=True)
    x = torch.randn(9, 256)
    assert error(prepared(exact, "bf16")(x), exact(x)) < 1e-6


class Rehearsed(nn.Module):
    """Two layers, the second of inputs far from zero in the same channels every time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = layer(256, 256, activation="gelu"), layer(256, 256, seed=1)
        nn.init.normal_(self.first.bias, std=8.0, generator=torch.Generator().manual_seed(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).float())  # type: ignore[no-any-return]

    def rehearse(self) -> None:
        self(torch.randn(64, 256, generator=torch.Generator().manual_seed(3)))


def test_rehearsing_makes_eight_bits_more_exact() -> None:
    plain, rehearsed, cold = Rehearsed(), Rehearsed(), Rehearsed()
    x = torch.randn(50, 256)
    expected = plain(x)
    prepare(rehearsed, "int8")
    for part in (cold.first, cold.second):
        part.prepare("int8")
    spread = expected - expected.mean(dim=0)
    rehearsed_error = float((rehearsed(x) - expected).square().mean().sqrt() / spread.std())
    cold_error = float((cold(x) - expected).square().mean().sqrt() / spread.std())
    assert rehearsed_error < 0.5 * cold_error
    assert isinstance(rehearsed.second._fast, linear.Int8), "or it would still be watching"


# ---- other machines


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("lacking", ["_is_avx512_bf16_supported", "_is_vnni_supported"])
def test_a_cpu_without_the_fast_instructions_gives_the_same_numbers(
    precision: Precision, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = layer(256, 192, activation="gelu")
    x = torch.randn(300, 256)
    expected = plain(x)
    monkeypatch.setattr(torch.cpu, lacking, lambda: False)
    y = prepared(plain, precision)(x)
    assert error(y, expected) < TOLERANCES[precision]
    if lacking == "_is_avx512_bf16_supported" and precision != "fp16":
        assert y.dtype == torch.float32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_cpu_without_onednn_gives_the_same_numbers(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = layer(256, 192, activation="gelu")
    x = torch.randn(300, 256)
    monkeypatch.setattr(linear, "_has_onednn", lambda: False)
    assert error(prepared(plain, precision)(x), plain(x)) < TOLERANCES[precision]


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_the_product_for_gpus_agrees(activation: str) -> None:
    """It runs on a CPU as well, where its gelu is the exact one."""
    plain = layer(96, 64, activation=activation)
    x = torch.randn(2, 30, 96)
    fused = FusedOnGpu(plain.weight, plain.bias, activation == "gelu")
    assert fused(x).shape == (2, 30, 64)
    assert float((fused(x) - plain(x)).abs().max()) < 1e-3


# ---- what is gone


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_prepared_layer_refuses_what_it_cannot_do(precision: Precision) -> None:
    """Its weight is gone: a copy of what is left would be a layer that computes something else, or nothing."""
    fast = prepared(layer(256, 192), precision)
    assert not list(fast.parameters()), "the plain weight must not stay beside the fast one"
    model = nn.Sequential(fast)
    attempts = (
        lambda: model.to(torch.float16),
        lambda: model.to("meta"),
        lambda: copy.deepcopy(model),
        lambda: pickle.dumps(model),
        lambda: model.state_dict(),
    )
    for attempt in attempts:
        with pytest.raises(UsageError, match=f"prepared for {precision}.*load it anew"):
            attempt()
    with pytest.raises(UsageError, match="prepared again"):
        fast.prepare("fp32")
    x = torch.randn(3, 256)
    assert torch.equal(model.to("cpu").eval()(x), fast(x)), "what changes nothing is allowed"


def test_a_plain_layer_is_like_any_other() -> None:
    plain = layer(8, 6, activation="gelu").requires_grad_(True)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(plain)))
    x = torch.randn(5, 8)
    assert torch.equal(twin(x), plain(x))
    plain(x).sum().backward()
    assert plain.weight.grad is not None
    assert set(plain.state_dict()) == {"weight", "bias"}
    assert plain.to(torch.float64)(x).dtype == torch.float64


# ---- whole models


class Mixed(nn.Module):
    """A part that prepares what it holds in its own way, beside one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.calls = layer(128, 128), 0

    def prepare(self, precision: Precision) -> None:
        self.calls += 1
        self.held.prepare("fp32")


def test_every_part_is_prepared_once_and_the_outer_decides() -> None:
    model = nn.Sequential(Mixed(), layer(128, 128), nn.LayerNorm(128))
    prepare(model, "bf16")
    mixed, own, norm = model
    assert (mixed.calls, mixed.held.prepared, own.prepared) == (1, "fp32", "bf16")
    assert norm.weight.dtype == torch.float32, "norms stay in fp32"
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
    prepare(model, "bf16")  # changes nothing
    with pytest.raises(UsageError, match="prepared for bf16 already"):
        prepare(model, "int8")


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(UsageError, match="'int4' is not known; known: fp32, bf16, fp16, int8"):
        prepare(nn.Sequential(), "int4")  # type: ignore[arg-type]
