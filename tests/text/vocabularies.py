"""Vocabularies that a tokenizer could stumble over, and directories of them as transformers writes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

MARKS = ("<pad>", "<s>", "</s>", "<unk>", "|")


@dataclass(frozen=True)
class Hostile:
    """Labels by id, and the other arguments of a tokenizer of them."""

    name: str
    ids: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def knows_unknown(self) -> bool:
        return "unk_token" not in self.options or self.options["unk_token"] is not None

    def texts(self) -> st.SearchStrategy[str]:
        """Of its labels, of parts of them, of spaces and of what it has no label for."""
        parts = {letter for label in self.ids for letter in label}
        odd = {" ", "  ", "\n", "?", "Z", "z", "\N{COMBINING ACUTE ACCENT}", "ß", "😀"}
        return st.lists(st.sampled_from(sorted({*self.ids, *parts, *odd})), max_size=12).map("".join)

    def frames(self) -> st.SearchStrategy[list[int]]:
        """Ids as a model has them, with repeats; beyond all labels, too, where there is a token for that."""
        known = sorted(self.ids.values())
        strange = [-1, known[-1] + 1, known[-1] + 3, known[-1] + 9, 10**6] if self.knows_unknown else []
        stretch = st.tuples(st.sampled_from(known + strange), st.integers(1, 3))
        return st.lists(stretch, max_size=12).map(lambda every: [one for one, times in every for _ in range(times)])

    def file(self, directory: Path) -> Path:
        """Only its labels."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "vocab.json"
        path.write_text(json.dumps(self.ids), encoding="utf-8")
        return path

    def saved(self, directory: Path, tokenizer: type) -> tuple[Path, Any]:
        """A directory that transformers' tokenizer of this class wrote, and that tokenizer itself."""
        made = tokenizer(str(self.file(directory / "first")), **self.options)
        made.save_pretrained(directory / "saved")
        return directory / "saved", made


def numbered(*labels: str) -> dict[str, int]:
    return {label: number for number, label in enumerate(labels)}


LETTERS = ("e", "t", "a", "n", "l", "h")
HOSTILE = (
    Hostile("usual", numbered(*MARKS, *LETTERS, "'")),
    Hostile("upper case", numbered(*MARKS, "E", "L", "Σ", "SS", "İ", "Ǆ"), {"do_lower_case": True}),
    Hostile(
        "brackets",
        numbered("[PAD]", "[UNK]", "|", "[", "]", "(", ")", "<", ">", "{noise}", "(laughs)", *LETTERS),
        {"pad_token": "[PAD]", "unk_token": "[UNK]"},
    ),
    Hostile("regular expressions", numbered(*MARKS, ".", "*", "\\", "+?", "a|b", "$", "^^", "[a-z]")),
    Hostile("spaces", numbered(*MARKS, " ", "\t", "\N{NO-BREAK SPACE}", "a b", " e", "t ", *LETTERS)),
    Hostile("combining", numbered(*MARKS, "é", "e\u0301", "\u0301", "n\u0303", "\u0303", "ɜː", "ː", "t͡ʃ", *LETTERS)),  # noqa: RUF001
    Hostile("right to left", numbered(*MARKS, "ش", "ل", "ا", "لا", "\u200c", "\u200f", "א", "ם", "\u064e", "ب\u064e")),  # noqa: RUF001
    Hostile("several characters", numbered(*MARKS, "ch", "ll", "sch", "ngg", "ng", "s", "c", "hh", *LETTERS)),
    Hostile("beyond the first plane", numbered(*MARKS, "😀", "👩‍👩‍👧", "𝄞", "🇫🇷", "𐌰", "a")),
    Hostile("an empty label", numbered(*MARKS, "", "a", "b")),
    Hostile("no unknown token in it", numbered("<pad>", "<s>", "</s>", "|", *LETTERS)),
    Hostile("no unknown token", numbered("<pad>", "<s>", "</s>", "|", *LETTERS), {"unk_token": None}),
    Hostile("no marks at all", numbered(*LETTERS)),
    Hostile("padding in the middle", numbered("e", "t", "|", "<pad>", "a", "<unk>", "l", "<s>", "</s>")),
    Hostile("no delimiter in it", numbered("<pad>", "<s>", "</s>", "<unk>", *LETTERS)),
    Hostile("the delimiter is a space", numbered("<pad>", "<unk>", " ", *LETTERS), {"word_delimiter_token": " "}),
    Hostile(
        "the delimiter is another",
        numbered("<pad>", "<unk>", "_", "|", *LETTERS),
        {"word_delimiter_token": "_", "replace_word_delimiter_char": "--"},
    ),
    Hostile("a longer delimiter", numbered("<pad>", "<unk>", "<sp>", *LETTERS), {"word_delimiter_token": "<sp>"}),
    Hostile("the delimiter is nothing in texts", numbered(*MARKS, *LETTERS), {"replace_word_delimiter_char": ""}),
    Hostile("one token for two", numbered("<pad>", "|", *LETTERS), {"unk_token": "<pad>", "eos_token": "|"}),
    Hostile(
        "more special tokens",
        numbered(*MARKS, "<noise>", *LETTERS),
        {"additional_special_tokens": ["<noise>", "<music>", "a"]},
    ),
    Hostile("ids with holes", {"<pad>": 3, "|": 0, "<unk>": 11, "a": 10, "b": 2, "ch": 9}),
)


def same(ours: Any, theirs: Any) -> None:
    """What one says of texts and labels, the other says."""
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.added_tokens_encoder == theirs.added_tokens_encoder
    every = sorted(theirs.get_vocab())
    text = " ".join(every) + "".join(every) + "aabb  c?"
    assert ours.tokenize(text) == theirs.tokenize(text)
    # Where the unknown token is none of the vocabulary's, theirs has None for it.
    ids = theirs.convert_tokens_to_ids(theirs.tokenize(text))
    assert ours(text)["input_ids"] == [theirs.unk_token_id if number is None else number for number in ids]
    ids = sorted(theirs.get_vocab().values()) * 2
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.convert_ids_to_tokens(ids, skip_special_tokens=True) == theirs.convert_ids_to_tokens(
        ids, skip_special_tokens=True
    )
