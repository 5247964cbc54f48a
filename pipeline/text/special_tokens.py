"""Special tokens of a tokenizer as its attributes: their names, the text of each, and its id.

Knows nothing of vocabularies; the tokenizer says which id a token has.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.text.added_tokens import AddedToken

if TYPE_CHECKING:  # it has these as attributes
    from pipeline.text.tokens import Tokens

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
DELIMITER = "word_delimiter_token"


class Special:
    """A special token as an attribute: its text, or None where there is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: "Tokens | None", kind: type) -> str | None:
        if tokenizer is None:
            raise AttributeError(self._name)
        return tokenizer._named.get(self._name)

    def __set__(self, tokenizer: "Tokens", token: Any) -> None:
        tokenizer._named[self._name] = None if token is None else str(AddedToken.of(token))
        tokenizer._changed()


class SpecialId:
    """The id of a special token as an attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, tokenizer: "Tokens | None", kind: type) -> int | None:
        if tokenizer is None:
            raise AttributeError(f"{self._name}_id")
        token = tokenizer._named.get(self._name)
        return None if token is None else tokenizer._id_of(token)

    def __set__(self, tokenizer: "Tokens", number: int | None) -> None:
        setattr(tokenizer, self._name, None if number is None else tokenizer.convert_ids_to_tokens(number))


def is_token(name: str, token: Any) -> bool:
    """Whether an argument of this name is a special token."""
    return name.endswith("_token") and (isinstance(token, str | AddedToken | Mapping) or hasattr(token, "content"))
