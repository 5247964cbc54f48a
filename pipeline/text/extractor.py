"""What both feature extractors share: recordings in any shape a caller has them, padding, and files of settings.

Knows nothing of what is made of the audio.
"""

import copy
import json
import os
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.locate import SETTINGS, checkpoint_directory
from pipeline.text.advice import meant, warn_user
from pipeline.text.batch import ArgumentError, Batch, as_array, is_tensor
from pipeline.text.features import extractor_settings
from pipeline.text.from_hub import check_no_push, hub_and_rest
from pipeline.text.padding import Padding, padded

FILE = "preprocessor_config.json"


class SequenceFeatureExtractor:
    """Recordings to a model's inputs. Its settings are plain attributes, which callers may change."""

    model_input_names: ClassVar[list[str]]

    def __init__(self, feature_size: int, sampling_rate: int, padding_value: float | None, **rest: Any) -> None:
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.padding_value = padding_value
        self.padding_side = rest.pop("padding_side", "right")
        self.return_attention_mask = rest.pop("return_attention_mask", True)
        rest.pop("processor_class", None)  # it is the processor's to say
        rest.pop("feature_extractor_type", None)
        vars(self).update(rest)  # of a checkpoint's file, to be saved again

    # ---- from a checkpoint, and back

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Any:
        """As the settings of a checkpoint say: a directory, its JSON file, a URL, or a name on the hub.

        Other keywords override settings. With return_unused_kwargs=True, those that are no settings come back beside
        the extractor.
        """
        returned = options.pop("return_unused_kwargs", False)
        hub, options = hub_and_rest(options)
        path = Path(name).expanduser()
        if path.is_file():
            settings = read_object(path)
        else:
            path = checkpoint_directory(os.fspath(name), SETTINGS, hub)
            settings = extractor_settings(path)
        if (kind := settings.get("feature_extractor_type", cls.__name__)) != cls.__name__:
            raise ArgumentError(f"{path} is of a {kind}, which {cls.__name__} does not read")
        made, unused = cls._made(settings, options)
        if returned:
            return made, unused
        for key in unused:
            warn_user(f"{cls.__name__}.from_pretrained: {key} is no setting of it{meant(key, vars(made))}")
        return made

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], **changes: Any) -> Any:
        """What `to_dict` gave; `from_pretrained` says what keywords do."""
        returned = changes.pop("return_unused_kwargs", False)
        made, unused = cls._made(settings, changes)
        return (made, unused) if returned else made

    @classmethod
    def _made(cls, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        known = {*settings, *signature(cls).parameters, "padding_side", "return_attention_mask"}
        unused = {key: value for key, value in changes.items() if key not in known}
        own = {key: value for key, value in changes.items() if key in known}
        return cls(**{**settings, **own}), unused

    def save_pretrained(self, directory: str | os.PathLike[str], push_to_hub: bool = False) -> list[str]:
        """`preprocessor_config.json`, as transformers and `from_pretrained` read it. Returns its path."""
        check_no_push(push_to_hub)
        folder = Path(directory)
        if folder.is_file():
            raise UsageError(f"{folder} is a file; a directory is needed")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self.to_json_string(), encoding="utf-8")
        return [str(folder / FILE)]

    def to_dict(self) -> dict[str, Any]:
        return {**copy.deepcopy(vars(self)), "feature_extractor_type": type(self).__name__}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=np.ndarray.tolist) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    # ---- what calls do

    def pad(
        self,
        processed_features: Any,
        padding: Any = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> Any:
        """A dictionary of lists, or a list of dictionaries, as one batch whose recordings are all as long.

        What else is in them comes along as it is. NumPy arrays, unless the recordings are tensors or
        `return_tensors` says otherwise.
        """
        if isinstance(processed_features, (list, tuple)) and processed_features:
            processed_features = {key: [one[key] for one in processed_features] for key in processed_features[0]}
        name = self.model_input_names[0]
        if not isinstance(processed_features, (Mapping, Batch)) or name not in processed_features:
            raise ArgumentError(f"pad takes a dictionary with {name}, or a list of such")
        masked = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        given = processed_features[name]
        if len(given) == 0:
            return Batch({**processed_features, **({"attention_mask": []} if masked else {})})
        if return_tensors is None:
            return_tensors = "pt" if is_tensor(given[0]) else "np"
        how = self._padding(padding, max_length, truncation, pad_to_multiple_of)
        arrays = [_array(one, number) for number, one in enumerate(given)]
        batch: dict[str, Any] = {
            key: _single(as_array(value)) for key, value in processed_features.items() if key != name
        }
        for key, value in batch.items():
            if len(value) != len(arrays):
                raise ArgumentError(f"{key} has {len(value)} items, {name} has {len(arrays)}")
        masks = processed_features.get("attention_mask")
        if masks is None and masked:
            masks = [np.ones(len(array), np.int32) for array in arrays]
        if masks is not None:
            batch["attention_mask"] = padded([_array(mask, number) for number, mask in enumerate(masks)], how, 0)
        return Batch({name: padded(arrays, how, self.padding_value), **batch}, return_tensors)

    def _padding(self, padding: Any, max_length: Any, truncation: Any, multiple_of: Any) -> Padding:
        side, value = self.padding_side, self.padding_value
        return Padding.asked(padding, max_length, truncation, multiple_of, side=side, value=value)

    def _check_call(self, sampling_rate: int | None, unknown: Mapping[str, Any]) -> None:
        if sampling_rate is None:
            warn_user(
                f"give {type(self).__name__} the sampling_rate of the audio: without it, audio of another rate than "
                f"{self.sampling_rate} Hz is transcribed wrongly and nothing says so"
            )
        elif sampling_rate != self.sampling_rate:
            raise ArgumentError(
                f"the audio has {sampling_rate} Hz, but {type(self).__name__} is set to {self.sampling_rate} Hz: "
                "resample the audio"
            )
        if unknown:
            warn_user(f"{type(self).__name__} has no use for {', '.join(unknown)}")


def recordings(speech: Any, most_dims: int = 1) -> list[Any]:
    """One recording, or the first dimension's; each an array, a tensor or numbers of at most `most_dims` dimensions."""
    if isinstance(speech, np.ndarray) or is_tensor(speech):
        found = list(speech) if speech.ndim > 1 else [speech]
    elif isinstance(speech, (list, tuple)) and len(speech):
        several = isinstance(speech[0], (np.ndarray, list, tuple)) or is_tensor(speech[0])
        found = list(speech) if several else [speech]
    else:
        told = "an empty list" if isinstance(speech, (list, tuple)) else f"a {type(speech).__name__}"
        raise ArgumentError(f"audio is an array, a tensor, a list of numbers or a list of these, not {told}")
    found = [one if is_tensor(one) else _array(one, number) for number, one in enumerate(found)]
    for number, one in enumerate(found):
        if not 1 <= one.ndim <= most_dims:
            shapes = "(samples,)" if most_dims == 1 else "(samples,) or (channels, samples)"
            raise ArgumentError(f"recording {number} is of shape {tuple(one.shape)}, not {shapes}")
    return found


def _array(values: Any, number: int) -> np.ndarray[Any, Any]:
    array = _single(as_array(values))
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise ArgumentError(f"recording {number} is not a sequence of numbers")
    return array


def _single(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(np.float32) if array.dtype == np.float64 else array
