"""A word as the search hears it. Knows nothing of files or of searching."""

from typing import NamedTuple


class Pronunciation(NamedTuple):
    """One way to say a word, as numbers of the model's labels."""

    word: str
    labels: tuple[int, ...]
