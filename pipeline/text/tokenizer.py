"""What the tokenizers of CTC models share: texts to labels, and padding.

Knows neither how a text is spelt out nor how labels become one: that is where its two subclasses differ.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.text.added_tokens import pieces
from pipeline.text.batch import ArgumentError, Batch, is_tensor
from pipeline.text.collapse import Collapsed, Spelling, as_lists, collapsed
from pipeline.text.label_padding import Fit, padded
from pipeline.text.padding import DO_NOT_PAD
from pipeline.text.saved_tokens import SavedTokens

CLEANED = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)
PADDING = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


class Tokenizer(SavedTokens):
    """With the methods and attributes that code written for transformers asks of a tokenizer; no text pairs.

    A subclass says how a text without added tokens is spelt out (`_tokenize`), what a text goes through before that
    (`prepare_for_tokenization`), what a token added as a plain string is like (`_added_token`), which of its
    constructor's arguments are saved (`_arguments`), and what labels become (`batch_decode`).
    """

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
        if fit.padding != DO_NOT_PAD and self.pad_token_id is None:
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

    def decode(self, token_ids: Any, *options: Any, **named: Any) -> Any:
        """The text of one sequence: a list, an array, a tensor or an id on its own; the options of `batch_decode`."""
        decoded = self.batch_decode([token_ids], *options, **named)
        if isinstance(decoded, list):
            return decoded[0]
        return type(decoded)(**{name: every[0] for name, every in decoded.items()})

    def batch_decode(self, sequences: Any, *options: Any, **named: Any) -> Any:
        """The texts of many sequences."""
        raise NotImplementedError

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
            self._spellings[key] = self._spelling(tokens, self.unk_token, unwritten, written)
        return collapsed(sequences, self._spellings[key], group, lengths)

    def _collapsed_tokens(
        self,
        tokens: Sequence[str],
        group: bool,
        unwritten: frozenset[str | None] = frozenset(),
        written: tuple[str | None, str] = (None, ""),
    ) -> Collapsed:
        """Of one sequence, whose tokens need not be of the vocabulary."""
        numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
        spelling = self._spelling(list(numbers), None, unwritten, written)
        return collapsed([[numbers[token] for token in tokens]], spelling, group)

    def _spelling(
        self,
        tokens: Sequence[str | None],
        unknown: str | None,
        unwritten: frozenset[str | None],
        written: tuple[str | None, str],
    ) -> Spelling:
        replaced = {} if written[0] is None else {written[0]: written[1]}
        return Spelling.of(tokens, unknown, {*unwritten, self.pad_token}, replaced)

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
    return "pt" if is_tensor(first) else "np" if hasattr(first, "dtype") else None
