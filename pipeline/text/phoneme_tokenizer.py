"""The tokenizer of models whose labels are phones: texts to labels by way of a phonemiser, frames' labels to phones.

Knows no model, and nothing of how a text becomes phones; decoding never asks for a phonemiser.
"""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.outputs import ModelOutput
from pipeline.text.added_tokens import AddedToken
from pipeline.text.tokenizer import Tokenizer

Offsets = list[dict[str, Any]]  # of one text: {"char", "start_offset", "end_offset"}, in frames


@dataclass
class Wav2Vec2PhonemeCTCTokenizerOutput(ModelOutput):
    """Phones one space apart, of one sequence or of several, with the frames of each, the end being the one after."""

    text: str | list[str]
    char_offsets: Offsets | list[Offsets] | None = None


class Wav2Vec2PhonemeCTCTokenizer(Tokenizer):
    """As in transformers, whose files it reads and writes, but for this:

    - A text is phonemised in the language that is asked for. There, `phonemize` goes on in the language of an earlier
      call, and a language given to one call is that of all later ones.
    - Repeats are joined before any token is skipped. There, `skip_special_tokens=True` first removes the padding that
      stands between two equal phones, which become one, and offsets count what is left instead of frames.
    - Frames that are padding can be said to be: by `lengths`, or by ids of -100, which are in no text and separate
      repeats as the padding token does.
    - A sequence in which nothing is left is an empty text, and no error; a phone that is unknown to a vocabulary
      without the unknown token has the id with which that is added, and not None.
    - `word_delimiter_token_id` and `phone_delimiter_token_id` can be set. Offsets are Python's numbers.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        unk_token: Any = "<unk>",
        pad_token: Any = "<pad>",
        phone_delimiter_token: Any = " ",
        word_delimiter_token: Any = None,  # follows every word that is phonemised; decoding drops it
        do_phonemize: bool = True,  # else texts are phones already, one space apart
        phonemizer_lang: str = "en-us",
        phonemizer_backend: str = "espeak",
        **settings: Any,
    ) -> None:
        named = dict(
            settings.pop("model_specific_special_tokens", None) or {}
        )  # where transformers 5.0 keeps these two
        phone_delimiter_token = named.pop("phone_delimiter_token", phone_delimiter_token)
        word_delimiter_token = named.pop("word_delimiter_token", word_delimiter_token)
        self.phone_delimiter_token = (
            None if phone_delimiter_token is None else str(AddedToken.of(phone_delimiter_token))
        )
        self.do_phonemize = do_phonemize
        self.phonemizer_lang = phonemizer_lang
        self.phonemizer_backend = phonemizer_backend
        special = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        special["word_delimiter_token"] = word_delimiter_token
        super().__init__(vocab_file, special, {**settings, "model_specific_special_tokens": named})

    @property
    def phone_delimiter_token_id(self) -> int | None:
        return None if self.phone_delimiter_token is None else self._id_of(self.phone_delimiter_token)

    @phone_delimiter_token_id.setter
    def phone_delimiter_token_id(self, number: int | None) -> None:
        self.phone_delimiter_token = None if number is None else self.convert_ids_to_tokens(number)

    def _arguments(self) -> dict[str, Any]:
        names = ("phone_delimiter_token", "do_phonemize", "phonemizer_lang", "phonemizer_backend")
        return {name: getattr(self, name) for name in names}

    # ---- texts to labels

    def tokenize(
        self,
        text: str,
        split_special_tokens: bool | None = None,
        phonemizer_lang: str | None = None,
        do_phonemize: bool | None = None,
        **prepare: Any,
    ) -> list[str]:
        """The labels of a text, as text; `phonemizer_lang` and `do_phonemize` hold for this text alone."""
        speaker = copy.copy(self)
        speaker.phonemizer_lang = self.phonemizer_lang if phonemizer_lang is None else phonemizer_lang
        speaker.do_phonemize = self.do_phonemize if do_phonemize is None else do_phonemize
        return super(Wav2Vec2PhonemeCTCTokenizer, speaker).tokenize(text, split_special_tokens, **prepare)

    def phonemize(self, text: str, phonemizer_lang: str | None = None) -> str:
        """The phones of a text, `phone_delimiter_token` between them, `word_delimiter_token` after words."""
        from pipeline.text.espeak import Phonemizer

        phonemizer = Phonemizer(phonemizer_lang or self.phonemizer_lang, self.phonemizer_backend)
        return phonemizer([text], self.word_delimiter_token or "", self.phone_delimiter_token or "")[0]

    def _added_token(self, token: str, special: bool) -> AddedToken:
        return AddedToken(token, special=special, normalized=True)

    def _tokenize(self, text: str) -> list[str]:
        text = text.strip()
        phones = self.phonemize(text.lower()) if self.do_phonemize else text
        return [phone for phone in phones.split(" ") if phone.strip()]

    # ---- labels to texts

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_char_offsets: bool = False,
        group_tokens: bool = True,
        filter_word_delimiter_token: bool = True,
        spaces_between_special_tokens: bool = False,  # there are always spaces
        lengths: Any = None,
    ) -> Any:
        """The phones of many sequences: a list of them, an array or a tensor; with the frames of each, if asked for.

        `lengths`: how many ids of each sequence count, where those after them are padding. `group_tokens=False`:
        repeats are phones of their own.
        """
        specials = self.all_special_tokens if skip_special_tokens else ()
        unwritten = frozenset(specials) | self._delimiters(filter_word_delimiter_token)
        phones = self._collapsed(sequences, lengths, group_tokens, unwritten)
        texts = self._cleaned_up(phones.texts(spaced=True), clean_up_tokenization_spaces)
        return Wav2Vec2PhonemeCTCTokenizerOutput(texts, phones.char_offsets()) if output_char_offsets else texts

    def convert_tokens_to_string(
        self,
        tokens: Sequence[str],
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        filter_word_delimiter_token: bool = True,
        output_char_offsets: bool = False,
    ) -> dict[str, Any]:
        """Of one sequence of frames, by their tokens: `text` and `char_offsets`."""
        phones = self._collapsed_tokens(tokens, group_tokens, self._delimiters(filter_word_delimiter_token))
        offsets = phones.char_offsets()[0] if output_char_offsets else None
        return {"text": phones.texts(spaced=True)[0], "char_offsets": offsets}

    def _delimiters(self, filtered: bool) -> frozenset[str | None]:
        """What is in no text."""
        return frozenset({self.word_delimiter_token} if filtered and self.word_delimiter_token is not None else ())
