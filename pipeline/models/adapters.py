"""Language adapters, as in MMS: a small block after each encoder layer and a head of its own for every language.

Languages are loaded once and stay; those of one batch may be many. Knows nothing of what surrounds the blocks.

Pratap et al. 2023, arXiv 2305.13516.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.checkpoint import fit
from pipeline.models.linear import Linear
from pipeline.models.locate import adapter_file
from pipeline.models.precision import prepare
from pipeline.models.pretrained import Pretrained
from pipeline.models.segments import Packed, Segments
from pipeline.models.weight_files import CheckpointError, read_file, write_file

BANK = "languages"  # the attribute of adapters and models where the languages are that are loaded


Languages = str | Sequence[str | None] | None  # of all recordings, or of each; None: what a model speaks by itself


class Spoken:
    """Which languages the recordings of one pass through a model are in."""

    def __init__(self, languages: Languages) -> None:
        is_one = languages is None or isinstance(languages, str)
        self.of_all = languages if isinstance(languages, str) else None
        self.of_each = None if is_one else tuple(languages or ())
        # The same rows are asked for by every layer, and on a GPU each answer is a transfer.
        self._known: dict[tuple[Segments, torch.device], dict[str | None, Tensor]] = {}

    def rows(self, segments: Segments, device: torch.device) -> dict[str | None, Tensor]:
        """The numbers of the rows in each language, where each recording has its own."""
        assert self.of_each is not None
        if len(segments.lengths) != len(self.of_each):
            raise ValueError(f"{len(self.of_each)} languages for {len(segments.lengths)} recordings")
        key = (segments, device)
        if key not in self._known:
            by_row = torch.repeat_interleave(torch.tensor(segments.lengths))  # (T,) numbers of recordings
            found: dict[str | None, Tensor] = {}
            for language in dict.fromkeys(self.of_each):
                speaks = torch.tensor([language == one for one in self.of_each])  # (B,)
                found[language] = speaks[by_row].nonzero().squeeze(1).to(device)
            self._known[key] = found
        return self._known[key]


Speaker = Callable[[str | None], Callable[[Tensor], Tensor]]  # of a language: what its rows go through


def by_language(x: Packed, spoken: Spoken | None, speaker: Speaker, fill: float = 0.0) -> Tensor:
    """Rows through the speaker of their language. Where speakers' rows differ in width, `fill` makes them alike."""
    if spoken is None or spoken.of_each is None:
        return speaker(None if spoken is None else spoken.of_all)(x.data)
    rows = spoken.rows(x.segments, x.data.device)
    if len(rows) == 1:
        return speaker(next(iter(rows)))(x.data)
    results = {language: speaker(language)(x.data[numbers]) for language, numbers in rows.items()}
    width = max(y.shape[1] for y in results.values())
    first = next(iter(results.values()))
    merged = first.new_full((len(x.data), width), fill)  # (T, widest)
    for language, numbers in rows.items():
        merged[numbers, : results[language].shape[1]] = results[language]
    return merged


class Bank(nn.Module):
    """Modules by language. torch's own dictionary of modules refuses some names, and `pop` is a language."""

    def __contains__(self, language: str) -> bool:
        return f"in_{language}" in self._modules

    def __getitem__(self, language: str) -> Any:
        return self._modules[f"in_{language}"]

    def __setitem__(self, language: str, module: nn.Module) -> None:
        self.add_module(f"in_{language}", module)

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix("in_") for name in self._modules)


class AttentionAdapter(nn.Module):
    """After an encoder layer: what one language changes in it."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.sizes = (hidden_size, width)
        self.norm = nn.LayerNorm(hidden_size)
        self.linear_1 = Linear(hidden_size, width, activation="relu")
        self.linear_2 = Linear(width, hidden_size)
        self.languages = Bank()  # each an adapter like this one

    def forward(self, x: Packed, spoken: Spoken | None = None) -> Tensor:
        return by_language(x, spoken, self._speaker)  # (T, D)

    def rows(self, x: Tensor) -> Tensor:
        return self.linear_2(self.linear_1(self.norm(x)))  # type: ignore[no-any-return]  # (T, D)

    def _speaker(self, language: str | None) -> Callable[[Tensor], Tensor]:
        adapter: AttentionAdapter = self if language is None else self.languages[language]
        return adapter.rows

    def speak(self, language: str) -> None:
        """A language that is loaded, from now on where none is given."""
        chosen: AttentionAdapter = self.languages[language]
        self.norm, self.linear_1, self.linear_2 = chosen.norm, chosen.linear_1, chosen.linear_2


class Multilingual(Pretrained):
    """A model with a CTC head that may have language adapters, and then has a head for each language.

    Without a language it speaks the one that is in the checkpoint's own weights: English, in those of MMS.
    """

    lm_head: Linear
    blank: int  # the number of its label, in every language
    target_lang: str | None = None  # what it speaks by itself; None: what is in the checkpoint's own weights

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.languages = Bank()  # heads

    def load_adapter(self, target_lang: str) -> None:
        """Speaks this language from now on where none is given. What was spoken stays if it was loaded too."""
        self.load_adapters([target_lang])
        for adapter in self._adapters().values():
            adapter.speak(target_lang)
        self.lm_head, self.target_lang = self.languages[target_lang], target_lang
        config = replace(self.config, vocab_size=self.lm_head.out_features)
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.config = config

    def load_adapters(self, languages: Sequence[str]) -> None:
        """Loads `adapter.<language>.safetensors` (or `.bin`) of each from the checkpoint, to be spoken when given."""
        adapters = self._adapters()
        if not adapters:
            asked = f"{type(self).__name__} {self.source or ''} has no language adapters (asked for {languages})"
            raise UsageError(f"{asked}: they take adapter_attn_dim and do_stable_layer_norm in its config.json")
        if isinstance(languages, str):
            raise TypeError(f"load_adapters takes a list of languages, not {languages!r}")
        if self.source is None:
            raise UsageError("the model was made in code: there is no checkpoint to load language adapters from")
        for language in languages:
            if language not in self.languages:
                self._add(language, adapter_file(self.source, language, self.hub), adapters)

    def spoken(self, languages: Languages) -> Spoken:
        """These languages, for a pass through the model: they must be loaded."""
        for language in [languages] if isinstance(languages, str) else languages or ():
            if language is not None and language not in self.languages:
                loaded = ", ".join(self.languages) or "none"
                raise UsageError(f"language {language!r} is not loaded, call load_adapters; loaded: {loaded}")
        return Spoken(languages)

    def heads(self, x: Packed, spoken: Spoken | None, fill: float) -> Tensor:
        """Logits (T', V) of each recording by its language's head, filled up to the largest vocabulary."""
        return by_language(x, spoken, lambda one: self.lm_head if one is None else self.languages[one], fill)

    def own_state(self) -> dict[str, Tensor]:
        return {name: weight for name, weight in self.state_dict().items() if BANK not in name.split(".")}

    def save_pretrained(self, directory: Any, **options: Any) -> None:
        """What it speaks by itself in the main file, and a file for each language that is loaded."""
        super().save_pretrained(directory, **options)
        for language in self.languages:
            state = {
                f"{name}.{part}": weight
                for name, adapter in self._adapters().items()
                for part, weight in adapter.languages[language].state_dict().items()
            }
            state |= {f"lm_head.{part}": weight for part, weight in self.languages[language].state_dict().items()}
            write_file(state, Path(directory) / f"adapter.{language}.safetensors")

    def _adapters(self) -> dict[str, AttentionAdapter]:
        """By their names in checkpoints."""
        modules = self.named_modules()
        return {name: x for name, x in modules if isinstance(x, AttentionAdapter) and BANK not in name.split(".")}

    def _add(self, language: str, path: Path, adapters: dict[str, AttentionAdapter]) -> None:
        weights = read_file(path)
        num_labels = max((1, *weights.get("lm_head.weight", torch.empty(0)).shape[:1]))
        with torch.device("meta"):
            twins = {name: AttentionAdapter(*adapter.sizes) for name, adapter in adapters.items()}
            head = Linear(self.lm_head.in_features, num_labels, exact=True)
        parts: dict[str, nn.Module] = {**twins, "lm_head": head}
        wanted = {f"{name}.{key}": x for name, part in parts.items() for key, x in part.state_dict().items()}
        fitted = fit(weights, wanted, path)
        if self.blank >= num_labels:
            raise CheckpointError(f"{path} has {num_labels} labels, and pad_token_id {self.blank} is none of them")
        for name, part in parts.items():
            part.load_state_dict({key: fitted[f"{name}.{key}"] for key in part.state_dict()}, assign=True)
        together = nn.ModuleList(parts.values()).eval().to(self.device)
        if self.prepared is not None:
            prepare(together, self.prepared)
        # Only now, when nothing can fail any more: a language is there as a whole or not at all.
        for name, adapter in adapters.items():
            adapter.languages[language] = twins[name]
        self.languages[language] = head
