"""Turns a trained model into one for inference in a precision: fp32, bf16, fp16 or int8.

It knows no model: whatever part has a `prepare` is asked to change itself.
"""

from typing import Literal, get_args

from torch import nn

from pipeline.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16", "int8"]


def prepare(model: nn.Module, precision: Precision) -> None:
    """Readies the model for inference, in place, on the device where it is; it cannot be trained or moved afterwards.

    Every part with a `prepare` is called once, the outer before the inner: an outer one may prepare what it holds in
    another precision, and that then stays.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r} is not known; known: {', '.join(get_args(Precision))}")
    before = getattr(model, "prepared", None)
    if before not in (None, precision):
        raise UsageError(f"the model is prepared for {before} already; load it anew to have it in {precision}")
    model.requires_grad_(False).eval()
    for module in model.modules():
        if module is not model and getattr(module, "prepared", None) is None and hasattr(module, "prepare"):
            module.prepare(precision)
            module.prepared = precision
    model.prepared = precision  # type: ignore[assignment]
    model.precision = precision  # type: ignore[assignment]
