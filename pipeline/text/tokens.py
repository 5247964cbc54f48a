"""The tokens of a tokenizer: its vocabulary, the special ones, those that were added, and the id of each.

Knows nothing of texts, nor of how they are padded or decoded.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import count
from pathlib import Path
from re import Pattern
from typing import Any, ClassVar

from pipeline.errors import UsageError
from pipeline.text import tokenizer_files
from pipeline.text.added_tokens import AddedToken, cutter
from pipeline.text.batch import ArgumentError
from pipeline.text.collapse import Spelling, as_lists
from pipeline.text.label_padding import UNLIMITED
from pipeline.text.padding import side_of
from pipeline.text.special_tokens import DELIMITER, SPECIAL, Special, SpecialId, is_token

# What a tokenizer's file may say, of any kind of tokenizer.
SETTING_NAMES = (
    *tokenizer_files.EXTRA,
    "model_specific_special_tokens",
    "model_max_length",
    "max_len",
    "padding_side",
    "truncation_side",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "processor_class",
    "name_or_path",
    "added_tokens_decoder",
)


class Tokens:
    """With the attributes and methods that code for transformers asks of a tokenizer."""

    vocab_files_names: ClassVar[dict[str, str]] = {
        "vocab_file": tokenizer_files.VOCABULARY,
        "tokenizer_config_file": tokenizer_files.CONFIG,
    }
    is_fast: ClassVar[bool] = False
    delimiter_is_special: ClassVar[bool] = False  # whether the word delimiter counts as a special token

    bos_token, bos_token_id = Special("bos_token"), SpecialId("bos_token")
    eos_token, eos_token_id = Special("eos_token"), SpecialId("eos_token")
    unk_token, unk_token_id = Special("unk_token"), SpecialId("unk_token")
    sep_token, sep_token_id = Special("sep_token"), SpecialId("sep_token")
    pad_token, pad_token_id = Special("pad_token"), SpecialId("pad_token")
    cls_token, cls_token_id = Special("cls_token"), SpecialId("cls_token")
    mask_token, mask_token_id = Special("mask_token"), SpecialId("mask_token")
    word_delimiter_token, word_delimiter_token_id = Special(DELIMITER), SpecialId(DELIMITER)

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        special: Mapping[str, Any],
        settings: Mapping[str, Any],
        target_lang: str | None = None,
    ) -> None:
        """`special`: tokens by the names of their attributes; `settings`: what else a tokenizer's file may say."""
        self._path = Path(vocab_file)
        self.vocab = tokenizer_files.vocabulary(self._path)
        self.target_lang = target_lang
        rest = dict(settings)
        named = {**special, **{name: token for name, token in rest.items() if is_token(name, token)}}
        extra = rest.pop("additional_special_tokens", None)
        extra = rest.pop("extra_special_tokens", None) or extra or ()
        named |= rest.pop("model_specific_special_tokens", None) or {}
        if isinstance(extra, Mapping):  # of names, too
            named, extra = {**named, **extra}, ()
        self._named = {name: None if token is None else str(AddedToken.of(token)) for name, token in named.items()}
        self._extra = [str(AddedToken.of(token)) for token in extra]
        self.model_max_length = int(rest.pop("model_max_length", None) or rest.pop("max_len", None) or UNLIMITED)
        self.padding_side = side_of("padding_side", rest.pop("padding_side", "right"))
        self.truncation_side = side_of("truncation_side", rest.pop("truncation_side", "right"))
        self.model_input_names = list(rest.pop("model_input_names", ("input_ids", "attention_mask")))
        self.clean_up_tokenization_spaces = bool(rest.pop("clean_up_tokenization_spaces", False))
        self.split_special_tokens = bool(rest.pop("split_special_tokens", False))
        self.processor_class = rest.pop("processor_class", None)
        self.name_or_path = str(rest.pop("name_or_path", ""))
        self._given = tokenizer_files.added_tokens(rest.pop("added_tokens_decoder", None) or {}, self._path)
        self._rest = {name: value for name, value in rest.items() if name not in self._named}  # saved as it came
        self._speak(target_lang)

    def _speak(self, language: str | None) -> None:
        """As if it had been made for this language: what other languages have of their own is gone."""
        self.encoder = tokenizer_files.spoken(self.vocab, language, self._path)
        self.decoder = {number: token for token, number in self.encoder.items()}
        self.target_lang = language
        self._added, self._added_ids = dict[int, AddedToken](), dict[str, int]()
        nested = self.encoder is not self.vocab
        foreign = {token for one in self.vocab.values() for token in one} - set(self.encoder) if nested else set()
        for number, token in self._given.items():
            number = self.encoder.get(token.content, number)
            taken = self.decoder.get(number, token.content) != token.content
            if taken and not nested and token.content not in self.all_special_tokens:
                both = f"{self.decoder[number]!r} and the added token {token.content!r}"
                raise UsageError(f"{self._path}: {both} share the id {number}")
            if not taken and token.content not in foreign:
                self._added[number], self._added_ids[token.content] = token, number
        self._changed()
        self._add([token for token in self.all_special_tokens if token not in self._added_ids], special=True)

    def _changed(self) -> None:
        """Tokens came, or mean something else: what was made of them is made anew when it is next needed."""
        for made in ("_by_text", "_cutter"):
            vars(self).pop(made, None)
        self._spellings: dict[Any, Spelling] = {}

    @cached_property
    def _by_text(self) -> dict[str, AddedToken]:
        return {token.content: token for token in self._added.values()}

    @cached_property
    def _cutter(self) -> Pattern[str] | None:
        return cutter(self._by_text)

    # ---- tokens and ids

    @property
    def vocab_size(self) -> int:
        """Without the tokens that were added to the vocabulary's own."""
        return len(self.encoder)

    def __len__(self) -> int:
        return len(self.get_vocab())

    def get_vocab(self) -> dict[str, int]:
        return {**self.encoder, **self.added_tokens_encoder}

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """One id, or a list of ids; None for what is unknown to a vocabulary without an unknown token."""
        return self._id_of(tokens) if isinstance(tokens, str) else [self._id_of(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """One token, or a list of tokens; an id beyond all labels is the unknown token."""
        ids = as_lists(ids)
        if isinstance(ids, int):
            return self._token_of(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(number) for number in map(int, ids) if number not in skipped]

    def _id_of(self, token: str) -> int | None:
        for known in (token, self.unk_token):
            if known is not None and (known in self._added_ids or known in self.encoder):
                return self._added_ids.get(known, self.encoder.get(known))
        return None

    def _token_of(self, number: int) -> str | None:
        if number in self.decoder:
            return self.decoder[number]
        return self._added[number].content if number in self._added else self.unk_token

    # ---- special tokens

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens that have a name, by the names of their attributes."""
        silent = () if self.delimiter_is_special else (DELIMITER,)
        order = [name for name in dict.fromkeys((*SPECIAL, *self._named)) if name not in silent]
        return {name: token for name in order if (token := self._named.get(name)) is not None}

    @property
    def all_special_tokens(self) -> list[str]:
        return list(dict.fromkeys((*self.special_tokens_map.values(), *self._extra)))

    @property
    def all_special_ids(self) -> list[Any]:
        return [self._id_of(token) for token in self.all_special_tokens]

    @property
    def extra_special_tokens(self) -> list[str]:
        """Those without a name."""
        return list(self._extra)

    @extra_special_tokens.setter
    def extra_special_tokens(self, tokens: Iterable[Any] | None) -> None:
        self._extra = [str(AddedToken.of(token)) for token in tokens or ()]
        self._changed()

    additional_special_tokens = extra_special_tokens  # as transformers 4 calls them

    @property
    def extra_special_tokens_ids(self) -> list[Any]:
        return [self._id_of(token) for token in self._extra]

    additional_special_tokens_ids = extra_special_tokens_ids

    def get_special_tokens_mask(
        self, token_ids_0: Any, token_ids_1: Any = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each id that is a special token's; CTC adds none, so it is 0 throughout unless they are there."""
        ids = as_lists(self.build_inputs_with_special_tokens(token_ids_0, token_ids_1))
        special = set(self.all_special_ids) if already_has_special_tokens else set()
        return [int(number in special) for number in ids]

    def build_inputs_with_special_tokens(self, token_ids_0: Any, token_ids_1: Any = None) -> Any:
        """The ids as they are: CTC has no tokens around a text."""
        if token_ids_1 is not None:
            raise ArgumentError("a CTC tokenizer takes no pairs of texts")
        return token_ids_0

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """None."""
        return 0

    # ---- added tokens

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return dict(sorted(self._added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {token.content: number for number, token in sorted(self._added.items())}

    def get_added_vocab(self) -> dict[str, int]:
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """One or several, strings or `AddedToken`s; how many of them are new. Texts are split on them from now on."""
        every = list(new_tokens) if isinstance(new_tokens, list | tuple) else [new_tokens] if new_tokens else []
        before = dict(self._added)
        num_new = self._add(every, special_tokens)
        self._given |= {number: token for number, token in self._added.items() if before.get(number) is not token}
        return num_new

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Tokens by the names of their attributes, and `extra_special_tokens`, a list; how many of them are new."""
        added = list[AddedToken]()
        for name, value in special_tokens_dict.items():
            if name in tokenizer_files.EXTRA:
                tokens = [AddedToken.of(token, special=True, normalized=False) for token in value]
                kept = [] if replace_extra_special_tokens and tokens else self._extra
                self._extra = list(dict.fromkeys((*kept, *map(str, tokens))))
                added += tokens
            elif name in SPECIAL or name in self._named:
                added.append(AddedToken.of(value, special=True, normalized=False))
                self._named[name] = added[-1].content
            else:
                known = ", ".join(dict.fromkeys((*SPECIAL, *self._named, tokenizer_files.EXTRA[0])))
                raise ArgumentError(f"{name} is no special token; known: {known}")
        return self.add_tokens(added, special_tokens=True)

    def _added_token(self, token: str, special: bool) -> AddedToken:
        """What a token that is added as a plain string is like."""
        raise NotImplementedError

    def _add(self, tokens: Iterable[Any], special: bool = False) -> int:
        """New ones get the ids after all others; those of the vocabulary keep theirs, and are no longer split."""
        taken = self.get_vocab()
        used, size = set(taken.values()), len(taken)
        for told in tokens:
            token = self._added_token(told, special) if isinstance(told, str) else AddedToken.of(told)
            if special and not token.special:
                token = AddedToken.of({**token.to_dict(), "special": True})
            if token.normalized and not token.special and getattr(self, "do_lower_case", False):
                token = AddedToken.of({**token.to_dict(), "content": token.content.lower()})
            if not token.content:
                continue
            if token.content not in taken:  # as many as there are tokens, if the vocabulary has no holes
                taken[token.content] = next(number for number in count(len(taken)) if number not in used)
            number = taken[token.content]
            used.add(number)
            if token.special and token.content not in self.all_special_tokens:
                self._extra.append(token.content)
            self._added[number], self._added_ids[token.content] = token, number
        self._changed()
        return len(taken) - size
