"""A tokenizer's way from its files and back to them: `from_pretrained`, `save_pretrained`, and what is saved.

Knows nothing of texts; how the files are written is `tokenizer_files`'.
"""

import inspect
import os
from pathlib import Path
from typing import Any, Self

from pipeline.models.locate import SETTINGS, checkpoint_directory
from pipeline.text import tokenizer_files
from pipeline.text.advice import meant, warn_user
from pipeline.text.batch import ArgumentError
from pipeline.text.from_hub import check_no_push, hub_and_rest
from pipeline.text.special_tokens import is_token
from pipeline.text.tokens import SETTING_NAMES, Tokens

AnyPath = str | os.PathLike[str]


class SavedTokens(Tokens):
    """Tokens that can be read and saved; a subclass says which of its constructor's arguments are (`_arguments`)."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: AnyPath, **overrides: Any) -> Self:
        """That of a directory, a URL or a name on the Hugging Face hub, with other arguments where some are given."""
        name = os.fspath(pretrained_model_name_or_path)
        hub, changes = hub_and_rest(overrides)
        directory = checkpoint_directory(name, SETTINGS, hub)
        own = cls.settings_among(changes, directory)
        for unknown in changes.keys() - own.keys():
            hint = meant(unknown, inspect.signature(cls).parameters)
            warn_user(f"{cls.__name__}.from_pretrained: {unknown} is no setting of it{hint}")
        vocab_file = own.pop("vocab_file", None) or directory / tokenizer_files.VOCABULARY
        return cls(vocab_file, **{**tokenizer_files.settings(directory, own), "name_or_path": name})

    @classmethod
    def settings_among(cls, options: dict[str, Any], directory: Path) -> dict[str, Any]:
        """Those of the options that are this tokenizer's: by their names, or because its file has them, too."""
        known = {
            *inspect.signature(cls).parameters,
            *SETTING_NAMES,
            *tokenizer_files.ABOUT_FILES,
            *tokenizer_files.stated(directory),
        }
        return {name: value for name, value in options.items() if name in known or is_token(name, value)}

    def save_pretrained(
        self,
        save_directory: AnyPath,
        legacy_format: bool | None = None,  # there is one format
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
    ) -> tuple[str, ...]:
        """The files that transformers and `from_pretrained` read; their paths."""
        check_no_push(push_to_hub)
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
        added = {str(number): token.to_dict() for number, token in self.added_tokens_decoder.items()}
        return {**self.settings, "added_tokens_decoder": added}

    @property
    def settings(self) -> dict[str, Any]:
        """The same without the added tokens, of which there may be thousands."""
        about = {
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "split_special_tokens": self.split_special_tokens,
            "extra_special_tokens": self._extra,
            "processor_class": self.processor_class,
        }
        told = {name: value for name, value in about.items() if value}
        return {**self._rest, **told, **self._named, **self._arguments()}

    def _arguments(self) -> dict[str, Any]:
        """Of the constructor, those that the tokenizers do not share."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"special_tokens={self.special_tokens_map}, added_tokens={self.added_tokens_encoder})"
        )
