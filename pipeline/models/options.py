"""What `from_pretrained` can be asked for, in the spelling of the ecosystem, and what is meant by it.

Knows no model: it only sorts and checks.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.locate import HUB_OPTIONS, Hub
from pipeline.models.precision import Precision

PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


class Options(TypedDict, total=False):
    """The options of `from_pretrained`. Beside them it takes any field of the config, to override it."""

    dtype: torch.dtype | str | None  # fp32, the default, is plain and can be trained; "auto": what was saved
    torch_dtype: torch.dtype | str | None  # likewise, as it was called
    load_in_8bit: bool  # int8 weights, for inference alone, on a CPU as on a GPU
    quantization_config: Any  # something that has or holds `load_in_8bit`
    device_map: Any  # where to: "cpu", "cuda", "cuda:1", a number, a torch.device, {"": one of these}; "auto"
    attn_implementation: str | None
    config: Any  # instead of the checkpoint's own: one of ours, or of transformers
    target_lang: str | None  # a language adapter of the checkpoint, to be loaded and spoken
    ignore_mismatched_sizes: bool  # only with target_lang, whose head replaces one of another size in any case
    revision: str | None  # these four are the hub's: which version
    cache_dir: str | None  # where downloads are kept
    token: str | bool | None  # for what is not public
    local_files_only: bool  # what is not in the cache is not looked for
    low_cpu_mem_usage: bool  # these three change nothing: weights are mapped, never made twice,
    use_safetensors: bool | None  # read from safetensors where there are any,
    trust_remote_code: bool  # and no code is ever taken from a checkpoint


def sorted_out(options: Mapping[str, Any]) -> tuple[Options, Hub, dict[str, Any]]:
    """The options, those of them that are the hub's, and what is left: changes to the config."""
    changes = {name: value for name, value in options.items() if name not in Options.__annotations__}
    own = {name: value for name, value in options.items() if name not in changes}
    if own.get("trust_remote_code"):
        raise UsageError("trust_remote_code is not supported: no code of a checkpoint is ever run")
    hub = {name: own[name] for name in HUB_OPTIONS if name in own}
    return cast(Options, own), hub, changes


def asked_precision(options: Options, weights: Mapping[str, Tensor]) -> Precision:
    """Eight bits have the last word: what people write beside them is the dtype of what they do not cover."""
    if options.get("load_in_8bit") or _asks_for_8_bits(options.get("quantization_config")):
        return "int8"
    dtype = options.get("dtype") or options.get("torch_dtype") or torch.float32
    if dtype == "auto":
        dtype = next((weight.dtype for weight in weights.values() if weight.is_floating_point()), torch.float32)
    return precision_of(dtype)


def _asks_for_8_bits(quantisation: Any) -> bool:
    if quantisation is None:
        return False
    asked = quantisation if isinstance(quantisation, Mapping) else vars(quantisation)
    asks = {name: asked.get(name, asked.get(f"_{name}")) for name in ("load_in_4bit", "load_in_8bit")}
    if asks["load_in_4bit"]:
        raise UsageError("load_in_4bit is not supported; load_in_8bit is")
    if asks["load_in_8bit"] is None:
        raise UsageError(f"quantization_config {quantisation!r} is not supported; one that says load_in_8bit is")
    return bool(asks["load_in_8bit"])


def precision_of(dtype: torch.dtype | str) -> Precision:
    known = {str(known).removeprefix("torch."): precision for known, precision in PRECISIONS.items()}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise UsageError(f"dtype {dtype} is not supported; supported: {', '.join(known)}")
    return known[name]


def device_of(device_map: Any) -> torch.device:
    """One device for all of the model."""
    wanted = device_map[""] if isinstance(device_map, Mapping) and set(device_map) == {""} else device_map
    if wanted is None:
        return torch.device("cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda", wanted) if type(wanted) is int else torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {device_map!r} is not one device: cpu, cuda, cuda:0, ... or auto") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {device_map!r}: torch finds {torch.cuda.device_count()} GPUs here")
    return device
