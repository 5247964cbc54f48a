"""What the tokenizers of CTC models share: texts to labels, padding, and the files of a tokenizer.

Knows neither how a text is spelt out nor how labels become one: that is where its two subclasses differ.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.models.locate import HUB_OPTIONS, SETTINGS, checkpoint_directory
from pipeline.text import tokenizer_files
from pipeline.text.added_tokens import pieces
from pipeline.text.batch import ArgumentError, Batch
from pipeline.text.collapse import Collapsed, Spelling, as_lists, collapsed
from pipeline.text.label_padding import NONE, Fit, padded
from pipeline.text.tokens import Tokens

AnyPath = str | os.PathLike[str]
CLEANED = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)
PADDING = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}
# What `from_pretrained` takes for the sake of code that gives it, and has no use for.
NO_MATTER = ("force_download", "use_fast", "trust_remote_code", "resume_download", "proxies")


class Tokenizer(Tokens):
    """With the methods and attributes that code written for transformers asks of a tokenizer; no text pairs.

    A subclass says how a text without added tokens is spelt out (`_tokenize`), what a text goes through before that
    (`prepare_for_tokenization`), what a token added as a plain string is like (`_added_token`), which of its
    constructor's arguments are saved (`_arguments`), and what labels become (`decode` and `batch_decode`).
    """

    # ---- from files, and back

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: AnyPath, **overrides: Any) -> Self:
        """That of a directory, a URL or a name on the Hugging Face hub, with other arguments where some are given."""
        name = os.fspath(pretrained_model_name_or_path)
        hub = {option: overrides.pop(option) for option in HUB_OPTIONS if option in overrides}
        overrides = {option: value for option, value in overrides.items() if option not in NO_MATTER}
        directory = checkpoint_directory(name, SETTINGS, hub)
        vocab_file = overrides.pop("vocab_file", None) or directory / tokenizer_files.VOCABULARY
        settings = tokenizer_files.settings(directory, overrides)
        return cls(vocab_file, **{**settings, "name_or_path": name})

    def save_pretrained(self, save_directory: AnyPath, filename_prefix: str | None = None) -> tuple[str, ...]:
        """The files that transformers and `from_pretrained` read; their paths."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        content = {**self.init_kwargs, "tokenizer_class": type(self).__name__}
        files = [tokenizer_files.write(folder, tokenizer_files.CONFIG, content, filename_prefix)]
        files += self.save_vocabulary(folder, filename_prefix)
        beyond = {token: number for token, number in self.added_tokens_encoder.items() if number >= self.vocab_size}
        if beyond:
            files.append(tokenizer_files.write(folder, tokenizer_files.ADDED, beyond, filename_prefix))
        return tuple(files)

    def save_vocabulary(self, save_directory: AnyPath, filename_prefix: str | None = None) -> tuple[str, ...]:
        """`vocab.json` alone, of all languages; its path."""
        if not Path(save_directory).is_dir():
            raise ArgumentError(f"{os.fspath(save_directory)} is not a directory")
        return (tokenizer_files.write(save_directory, tokenizer_files.VOCABULARY, self.vocab, filename_prefix),)

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """What is saved: the arguments that would make this tokenizer of its vocabulary."""
        about = {
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "split_special_tokens": self.split_special_tokens,
            "extra_special_tokens": self._extra,
            "processor_class": self.processor_class,
        }
        added = {str(number): token.to_dict() for number, token in self.added_tokens_decoder.items()}
        told = {name: value for name, value in about.items() if value}
        return {**self._rest, **told, **self._named, **self._arguments(), "added_tokens_decoder": added}

    def _arguments(self) -> dict[str, Any]:
        """Of the constructor, those that the tokenizers do not share."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"special_tokens={self.special_tokens_map}, added_tokens={self.added_tokens_encoder})"
        )

    # ---- texts to labels

    def tokenize(self, text: str, split_special_tokens: bool | None = None, **prepare: Any) -> list[str]:
        """The labels of a text, as text; `prepare` is for `prepare_for_tokenization`."""
        text, _ = self.prepare_for_tokenization(text, **prepare)
        if self.split_special_tokens if split_special_tokens is None else split_special_tokens:
            return self._tokenize(text)
        whole = {*self._added_ids, *self.all_special_tokens}
        return [
            label
            for piece in pieces(text, self._cutter, self._by_text)
            for label in ([piece] if piece in whole else self._tokenize(piece))
        ]

    def prepare_for_tokenization(
        self, text: str, is_split_into_words: bool = False, **prepare: Any
    ) -> tuple[str, dict[str, Any]]:
        return (f" {text}" if is_split_into_words else text), {}

    def _tokenize(self, text: str) -> list[str]:
        """The labels of a text in which there is no added token."""
        raise NotImplementedError

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **options: Any) -> Any:
        """The ids of a text; the other options are those of a call."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,  # CTC has none to add around a text
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        **tokenize: Any,
    ) -> Batch:
        """Labels of a text or a list of texts: `input_ids` and `attention_mask`.

        A text may also be a list of ids or, with `is_split_into_words`, of words. What a text has that no label is
        becomes the unknown token.
        """
        if text_pair is not None or text_pair_target is not None:
            raise ArgumentError("a CTC tokenizer takes no pairs of texts")
        if return_overflowing_tokens:
            raise ArgumentError("return_overflowing_tokens is not supported: what truncation cuts off is gone")
        if text is None and text_target is None:
            raise ArgumentError("give a text, as text or as text_target")
        rest = {"multiple": pad_to_multiple_of, "side": padding_side or self.padding_side}
        fit = Fit.asked(padding, truncation, max_length, self.model_max_length, **rest)
        wanted = {
            "token_type_ids": self._wants("token_type_ids", return_token_type_ids),
            "special_tokens_mask": return_special_tokens_mask,
            "attention_mask": self._wants("attention_mask", return_attention_mask),
            "length": return_length,
        }
        given = [one for one in (text, text_target) if one is not None]
        batch, *labels = [self._encoded(one, is_split_into_words, fit, wanted, tokenize) for one in given]
        if labels:
            batch["labels"] = labels[0]["input_ids"]
        return self._as_tensors(batch, return_tensors, single=not _is_batch(given[0], is_split_into_words))

    def _encoded(
        self, text: Any, split: bool, fit: Fit, wanted: Mapping[str, bool], tokenize: Mapping[str, Any]
    ) -> dict[str, list[Any]]:
        """The entries of a batch, in which a single text is the only row."""
        batched = _is_batch(text, split)
        texts = text if batched else [text]
        rows = [fit.truncated(self._ids(one, split, tokenize), self.truncation_side) for one in texts]
        entries = {
            "input_ids": rows,
            "token_type_ids": [[0] * len(row) for row in rows],
            "special_tokens_mask": [[0] * len(row) for row in rows],
            "attention_mask": [[1] * len(row) for row in rows],
        }
        entries = {name: every for name, every in entries.items() if wanted.get(name, True)}
        # As transformers has it: a text on its own is not padded if it is empty, and its padding is in its length.
        done = self._padded(entries, fit if batched or rows[0] else Fit())
        if wanted["length"]:
            done["length"] = [len(row) for row in (rows if batched else done["input_ids"])]
        return done

    def _ids(self, text: Any, split: bool, tokenize: Mapping[str, Any]) -> list[int]:
        if isinstance(text, list | tuple) and text and all(isinstance(one, int) for one in text):
            return list(text)
        if isinstance(text, str):
            labels = self.tokenize(text, **tokenize)
        elif split and isinstance(text, list | tuple) and all(isinstance(one, str) for one in text):
            labels = [label for word in text for label in self.tokenize(word, **tokenize)]
        else:
            wanted = "a string, a list of ids or, with is_split_into_words, of words; pairs are not supported"
            raise ArgumentError(f"a text is {wanted}: {text!r:.100}")
        ids: list[Any] = self.convert_tokens_to_ids(labels)
        if None in ids:
            raise ArgumentError(
                f"no label is {labels[ids.index(None)]!r}, and there is no unknown token to stand for it"
            )
        return ids

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> Batch:
        """Labels made as long as each other: a dictionary with `input_ids`, or a list of such dictionaries."""
        if isinstance(encoded_inputs, list | tuple) and all(isinstance(one, Mapping) for one in encoded_inputs):
            names = encoded_inputs[0] if encoded_inputs else ("input_ids",)
            encoded_inputs = {name: [one[name] for one in encoded_inputs] for name in names}
        if not isinstance(encoded_inputs, Mapping) or "input_ids" not in encoded_inputs:
            raise ArgumentError("pad takes a dictionary with input_ids, or a list of such dictionaries")
        return_tensors = return_tensors or _kind(encoded_inputs["input_ids"])
        entries = {name: as_lists(value) for name, value in encoded_inputs.items()}
        if not entries["input_ids"]:
            return Batch({**entries, **({"attention_mask": []} if return_attention_mask else {})})
        if single := not isinstance(entries["input_ids"][0], list):
            entries = {name: [value] for name, value in entries.items()}
        if self._wants("attention_mask", return_attention_mask) and "attention_mask" not in entries:
            entries["attention_mask"] = [[1] * len(row) for row in entries["input_ids"]]
        rest = {"multiple": pad_to_multiple_of, "side": padding_side or self.padding_side}
        fit = Fit.asked(padding, False, max_length, self.model_max_length, **rest)
        done = self._padded(entries, fit)
        if single:
            done = {name: every[0] for name, every in done.items()}
        return self._as_tensors(done, return_tensors)

    def _padded(self, entries: Mapping[str, list[Any]], fit: Fit) -> dict[str, Any]:
        if fit.padding != NONE and self.pad_token_id is None:
            raise ArgumentError("padding needs a padding token: set pad_token")
        return padded(entries, fit, {**PADDING, "input_ids": self.pad_token_id or 0})

    def _wants(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked

    def _as_tensors(self, entries: dict[str, Any], kind: str | None, single: bool = False) -> Batch:
        """A single text's tensors are a batch of one; its lists are not."""
        if kind is None:
            return Batch({name: every[0] for name, every in entries.items()} if single else entries)
        # Nothing at all would become numbers with a fraction.
        entries = {name: every if any(every) else np.array(every, np.int64) for name, every in entries.items()}
        return Batch(entries, kind)

    # ---- labels to texts

    def _collapsed(
        self,
        sequences: Any,
        lengths: Any,
        group: bool,
        unwritten: frozenset[str | None],
        written: tuple[str | None, str] = (None, ""),
    ) -> Collapsed:
        """Of many sequences; without the padding token and those `unwritten`; `written`: one token as another text."""
        key = (unwritten, written)
        if key not in self._spellings:
            size = max((*self.decoder, *self._added), default=-1) + 1
            tokens = [self._token_of(number) for number in range(size)]
            replaced = {} if written[0] is None else {written[0]: written[1]}
            self._spellings[key] = Spelling.of(tokens, self.unk_token, {*unwritten, self.pad_token}, replaced)
        return collapsed(sequences, self._spellings[key], group, lengths)

    def _cleaned_up(self, texts: list[str], asked: bool | None) -> list[str]:
        if self.clean_up_tokenization_spaces if asked is None else asked:
            return [self.clean_up_tokenization(text) for text in texts]
        return texts

    def clean_up_tokenization(self, text: str) -> str:
        """Without the spaces before English punctuation and contractions."""
        for spaced, joined in CLEANED:
            text = text.replace(spaced, joined)
        return text


def _is_batch(text: Any, split: bool) -> bool:
    """A list of words is one text where it is said to be; a list of ids always is."""
    if not isinstance(text, list | tuple):
        return False
    if not text:
        return not split
    return isinstance(text[0], list | tuple) or (isinstance(text[0], str) and not split)


def _kind(values: Any) -> str | None:
    """The kind of tensors that these are, or that they are a list of."""
    first = values[0] if isinstance(values, list | tuple) and values else values
    return "pt" if hasattr(first, "detach") else "np" if hasattr(first, "dtype") else None
