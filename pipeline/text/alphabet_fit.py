"""Whether the labels of a decoder's alphabet are the tokens of a tokenizer, column by column.

Knows nothing of decoding, nor where either comes from.
"""

from typing import Any

from pipeline.decode.alphabet import BLANK, SPACE, UNKNOWN, UNKNOWN_WORD, Alphabet
from pipeline.text.batch import ArgumentError


def check_fit(tokenizer: Any, alphabet: Alphabet) -> None:
    """Labels that are missing, or in another order than the model's, would give other letters than it heard."""
    mend = "build the decoder of the tokenizer's tokens, in the order of their ids"
    if missing := missing_tokens(tokenizer, alphabet):
        raise ArgumentError(f"the decoder's alphabet lacks {', '.join(map(repr, missing))} of the tokenizer: {mend}")
    for token, number in tokenizer.get_vocab().items():
        if number < len(alphabet.labels):
            label, meant = alphabet.labels[number], _labels_of(token, tokenizer, alphabet)
            if label not in meant:
                raise ArgumentError(
                    f"column {number} of the logits is {token!r} to the tokenizer, so the decoder's label for it "
                    f"should be {meant[0]!r}, and is {label!r}: {mend}"
                )


def missing_tokens(tokenizer: Any, alphabet: Alphabet) -> list[str]:
    """Marks of sentences that a tokenizer adds beyond the labels do no harm: no column is theirs."""
    labels = set(alphabet.labels)
    silent = (tokenizer.bos_token, tokenizer.eos_token)
    return [
        token
        for token, number in tokenizer.get_vocab().items()
        if labels.isdisjoint(_labels_of(token, tokenizer, alphabet))
        and not (token in silent and number >= len(alphabet.labels))
    ]


def _labels_of(token: str, tokenizer: Any, alphabet: Alphabet) -> tuple[str, ...]:
    """Those that may stand for a token."""
    if token == tokenizer.pad_token:
        return (BLANK,)
    if token == tokenizer.word_delimiter_token:
        return (SPACE, token) if alphabet.is_bpe else (SPACE,)
    return (token, UNKNOWN, UNKNOWN_WORD) if token == tokenizer.unk_token else (token,)
