"""What else is in a batch must not change a recording: every family, packed at random and padded with rubbish.

The promise that the reference cannot give: where its padding is heard is shown at the end.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.models.auto import AutoModelForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.frontend import Recorded
from pipeline.models.precision import prepare
from pipeline.models.segments import Packed
from tests.models.oracle import GROUP, LAYER, SECOND, SMALL, oracle_model, saved

BOUND = 1e-5  # largest difference, by the standard deviation of the recording's logits alone
HEARD = 1e-2  # what padding changes at least where the reference hears it

ADAPTER: dict[str, Any] = {"add_adapter": True, "num_adapter_layers": 2}
CONFORMER: dict[str, Any] = LAYER | {"conv_depthwise_kernel_size": 31}
BERT: dict[str, Any] = SMALL | {"hidden_act": "swish"}


class Variant(NamedTuple):
    family: str
    config: dict[str, Any]


VARIANTS = {
    "group": Variant("Wav2Vec2", GROUP),
    "layer": Variant("Wav2Vec2", LAYER),
    "layer, language adapters": Variant("Wav2Vec2", LAYER | {"adapter_attn_dim": 8}),
    "group, adapter": Variant("Wav2Vec2", GROUP | ADAPTER),
    "layer, adapter": Variant("Wav2Vec2", LAYER | ADAPTER | {"adapter_stride": 3, "output_hidden_size": 24}),
    "conformer": Variant("Wav2Vec2Conformer", CONFORMER | {"position_embeddings_type": None}),
    "conformer, group": Variant("Wav2Vec2Conformer", CONFORMER | GROUP | {"position_embeddings_type": "rotary"}),
    "conformer, relative": Variant("Wav2Vec2Conformer", CONFORMER | {"position_embeddings_type": "relative"}),
    "conformer, rotary": Variant("Wav2Vec2Conformer", CONFORMER | {"position_embeddings_type": "rotary"}),
    "conformer, adapter": Variant("Wav2Vec2Conformer", CONFORMER | ADAPTER),
    "bert": Variant("Wav2Vec2Bert", BERT | {"position_embeddings_type": None}),
    "bert, relative": Variant("Wav2Vec2Bert", BERT | {"position_embeddings_type": "relative"}),
    "bert, relative_key": Variant("Wav2Vec2Bert", BERT | {"position_embeddings_type": "relative_key"}),
    "bert, rotary": Variant("Wav2Vec2Bert", BERT | {"position_embeddings_type": "rotary"}),
    "bert, adapter": Variant("Wav2Vec2Bert", BERT | ADAPTER),
    "bert, adapter and ffn": Variant("Wav2Vec2Bert", BERT | ADAPTER | {"use_intermediate_ffn_before_adapter": True}),
}

# Lengths from a single frame on, and how loud: some recordings are nearly silent, and one may drown its neighbours.
recordings = st.lists(
    st.tuples(
        st.one_of(st.integers(400, 1_200), st.integers(400, 2 * SECOND)), st.sampled_from([1e-3, 0.1, 1.0, 30.0])
    ),
    min_size=2,
    max_size=5,
)


@cache
def models(name: str) -> tuple[nn.Module, ForCTC, ForCTC]:
    """The reference, ours as it is loaded, and ours as the encode stage has it."""
    variant = VARIANTS[name]
    oracle = oracle_model(variant.config, f"{variant.family}ForCTC")
    with TemporaryDirectory() as directory:
        saved(oracle, Path(directory))
        plain, prepared = (AutoModelForCTC.from_pretrained(directory) for _ in range(2))
        prepare(prepared, "fp32")
    return oracle, plain, prepared


def inputs(name: str, sizes: Sequence[tuple[int, float]]) -> list[Tensor]:
    """Samples (N,), or mel features (T, 160) of as many."""
    generator = torch.Generator().manual_seed(sum(length for length, _ in sizes))
    made = []
    for length, loudness in sizes:
        is_mel = VARIANTS[name].family == "Wav2Vec2Bert"
        shape = (length // 320, 160) if is_mel else (length,)
        made.append(loudness * torch.randn(shape, generator=generator))
    return made


def check(logits: Tensor, alone: Tensor) -> None:
    assert logits.shape == alone.shape
    assert float((logits - alone).abs().max()) <= BOUND * float(alone.std())
    assert bool((logits.argmax(dim=1) == alone.argmax(dim=1)).all())


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=8, deadline=None)
@given(sizes=recordings)
def test_no_packed_batch_changes_a_recording(name: str, sizes: list[tuple[int, float]]) -> None:
    """The risk: a transcript that depends on its neighbours, their number, or their order."""
    some = inputs(name, sizes)
    _, plain, prepared = models(name)
    of_stage = Packed if VARIANTS[name].family == "Wav2Vec2Bert" else Recorded  # samples that the model normalises
    for model, packed in ((plain, Packed), (prepared, of_stage)):
        with torch.inference_mode():
            together = model.logits(packed.of(some)).split()
            for one, logits in zip(some, together, strict=True):
                check(logits, model.logits(packed.of([one])).data)


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=6, deadline=None)
@given(sizes=recordings)
def test_no_padding_changes_a_recording(name: str, sizes: list[tuple[int, float]]) -> None:
    """The risk: the face that people call with padded batches hears what the mask hides."""
    some, model = inputs(name, sizes), models(name)[1]
    longest = max(map(len, some))
    batch = torch.full((len(some), longest, *some[0].shape[1:]), torch.nan)  # whatever reads it becomes NaN
    mask = torch.zeros(len(some), longest, dtype=torch.long)
    for number, one in enumerate(some):
        batch[number, : len(one)], mask[number, : len(one)] = one, 1
    with torch.inference_mode():
        padded = model(batch, attention_mask=mask).logits
        for one, logits in zip(some, padded, strict=True):
            alone = model(one[None]).logits[0]
            check(logits[: len(alone)], alone)


@pytest.mark.parametrize(
    "name",
    [name for name, variant in VARIANTS.items() if "group" in name or "conformer" in name or "adapter" in variant],
)
def test_the_reference_is_changed_by_padding_where_ours_is_not(name: str) -> None:
    """Why this library packs: with its attention_mask, transformers still hears the padding of these models.

    Group norms take it into their statistics, a conformer's convolutions reach into it in every layer, and so do the
    strided convolutions of adapters.
    """
    oracle, ours, _ = models(name)
    short, long = inputs(name, [(SECOND, 1.0), (3 * SECOND, 1.0)])
    batch = torch.zeros(2, *long.shape)
    batch[0, : len(short)], batch[1] = short, long
    mask = torch.ones(batch.shape[:2], dtype=torch.long)
    mask[0, len(short) :] = 0
    with torch.inference_mode():
        alone = oracle(short[None]).logits[0]  # (T, V)
        reference = oracle(batch, attention_mask=mask).logits[0, : len(alone)]
        assert float((reference - alone).abs().max()) > HEARD * float(alone.std())
        check(ours(batch, attention_mask=mask).logits[0, : len(alone)], ours(short[None]).logits[0])
