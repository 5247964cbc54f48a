"""The tokenizer of models whose labels are letters: texts to labels, and frames' labels to texts, with their times.

Knows no model: where labels come from, and how long a frame is, is the caller's.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.outputs import ModelOutput
from pipeline.text.added_tokens import AddedToken
from pipeline.text.collapse import Collapsed
from pipeline.text.tokenizer import Tokenizer

Offsets = list[dict[str, Any]]  # of one text: {"char" or "word", "start_offset", "end_offset"}, in frames


@dataclass
class Wav2Vec2CTCTokenizerOutput(ModelOutput):
    """A text, or several; offsets are those that were asked for, the end being the frame after the last."""

    text: str | list[str]
    char_offsets: Offsets | list[Offsets] | None = None
    word_offsets: Offsets | list[Offsets] | None = None


class Wav2Vec2CTCTokenizer(Tokenizer):
    """As in transformers, whose files it reads and writes, but for this:

    - Repeats are joined before any token is skipped. There, `skip_special_tokens=True` first removes the padding that
      stands between double letters: HELLO becomes HELO, and offsets count what is left instead of frames.
    - Frames that are padding can be said to be: by `lengths`, or by ids of -100, which are in no text and separate
      repeats as the padding token does.
    - An id on its own is a sequence of one: there, the letters of a label of several are decoded as labels.
    - A word delimiter that is not "|" is kept by `from_pretrained`, which there goes back to "|".
    - `set_target_lang` leaves nothing of the language before; there, its longer labels stay, with its ids.
    - Of labels of several letters that overlap in a text, the first one counts, and of those that begin there the
      longest. There, a label is lost if it is within what began like a longer one: where "bc" and "abcx" are labels,
      "abcdx" is a, b, c, d, x instead of a, bc, d, x.
    - Offsets are Python's numbers.
    """

    delimiter_is_special = True

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        unk_token: Any = "<unk>",
        pad_token: Any = "<pad>",
        word_delimiter_token: Any = "|",
        replace_word_delimiter_char: str = " ",
        do_lower_case: bool = False,  # texts have lower case, labels upper case
        target_lang: str | None = None,  # of a vocabulary for each of several languages
        **settings: Any,
    ) -> None:
        self.do_lower_case = do_lower_case
        self.replace_word_delimiter_char = replace_word_delimiter_char
        special = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        super().__init__(vocab_file, {**special, "word_delimiter_token": word_delimiter_token}, settings, target_lang)

    def _arguments(self) -> dict[str, Any]:
        names = ("replace_word_delimiter_char", "do_lower_case", "target_lang")
        return {name: getattr(self, name) for name in names}

    def set_target_lang(self, target_lang: str) -> None:
        """Speaks another of the vocabulary's languages from now on."""
        self._speak(target_lang)

    # ---- texts to labels

    def _speak(self, language: str | None) -> None:
        super()._speak(language)
        longer = [token for token in self.encoder if len(token) > 1]  # which spelling out would take apart
        self._add([AddedToken(token, lstrip=True, rstrip=True, normalized=False) for token in longer])

    def _added_token(self, token: str, special: bool) -> AddedToken:
        return AddedToken(token, special=special, normalized=False)

    def _tokenize(self, text: str) -> list[str]:
        if self.do_lower_case:
            text = text.upper()
        return list(text if self.word_delimiter_token is None else text.replace(" ", self.word_delimiter_token))

    # ---- labels to texts

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        lengths: Any = None,
    ) -> Any:
        """The texts of sequences of ids: lists, an array or a tensor of one row each.

        With offsets it is a `Wav2Vec2CTCTokenizerOutput`. `group_tokens`: repeats are one, as they are in what a model
        says, and not in labels of texts. `lengths`: how many frames of each row are of its recording; the rest is
        padding, in which a model hears something all the same. `spaces_between_special_tokens`: between any labels.
        """
        specials = self.all_special_tokens if skip_special_tokens else ()
        unwritten = frozenset(specials) - {self.word_delimiter_token}
        space = self.replace_word_delimiter_char
        done = self._collapsed(sequences, lengths, group_tokens, unwritten, (self.word_delimiter_token, space))
        texts = self._cleaned_up(self._texts(done, spaces_between_special_tokens), clean_up_tokenization_spaces)
        if not (output_char_offsets or output_word_offsets):
            return texts
        return Wav2Vec2CTCTokenizerOutput(
            texts,
            done.char_offsets() if output_char_offsets else None,
            done.word_offsets(space) if output_word_offsets else None,
        )

    def convert_tokens_to_string(
        self,
        tokens: Sequence[str],
        group_tokens: bool = True,
        spaces_between_special_tokens: bool = False,
        output_char_offsets: bool = False,
        output_word_offsets: bool = False,
    ) -> dict[str, Any]:
        """Of one sequence of frames, by their tokens: `text`, `char_offsets` and `word_offsets`."""
        if not len(tokens):
            return {"text": "", "char_offsets": [], "word_offsets": []}
        space = self.replace_word_delimiter_char
        done = self._collapsed_tokens(tokens, group_tokens, written=(self.word_delimiter_token, space))
        return {
            "text": self._texts(done, spaces_between_special_tokens)[0],
            "char_offsets": done.char_offsets()[0] if output_char_offsets else None,
            "word_offsets": done.word_offsets(space)[0] if output_word_offsets else None,
        }

    def _texts(self, done: Collapsed, spaced: bool) -> list[str]:
        texts = done.texts(spaced)
        return [text.lower() for text in texts] if self.do_lower_case else texts
