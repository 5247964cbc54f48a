"""Which members of a WebDataset shard belong together: recordings, and the `.json` and `.txt` beside them.

A recording is named by its member without the extension, dots and all: `a.1.flac` and `a.2.flac` are two. Its texts
are the ones of that very name, `a.1.json`. Where there are none, they are the ones of WebDataset's own key, the name up
to its first dot (`a.json` for `a.audio.flac`), as long as one recording alone has that key. Of several with one key it
is not told whose the text is. Other members (`.cls`, `a.seg.json`) are let be. Knows nothing of what is in them.
"""

import posixpath
from collections import Counter, defaultdict
from typing import NamedTuple

from pipeline.sources.entries import is_audio

TEXTS = (".json", ".txt")


class Sample(NamedTuple):
    """Members by their number."""

    audio: int
    json: int | None = None
    txt: int | None = None
    shared: str | None = None  # a text that may be another's: it is not used


class Names:
    """What the names of a shard's members say, in whatever order they come."""

    def __init__(self, names: list[str]) -> None:
        self._audio = [number for number, name in enumerate(names) if is_audio(name)]
        self._names = [posixpath.normpath(name) for name in names]
        self._texts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, name in enumerate(self._names):
            stem, extension = posixpath.splitext(name)
            if extension.lower() in TEXTS:
                self._texts[stem, extension.lower()].append(number)
        self._stems = Counter(self._stem(number) for number in self._audio)
        self._keys = Counter(key_of(stem) for stem in self._stems)
        self._used: set[tuple[str, str]] = set()  # texts that have a recording

    def samples(self) -> list[Sample]:
        """In the order of their audio. Of members with one name the first has the first text of that name."""
        times = Counter[str]()
        found = []
        for number in self._audio:
            time = times[self._names[number]]
            times[self._names[number]] += 1
            json, txt = (self._text(self._stem(number), extension, time) for extension in TEXTS)
            found.append(Sample(number, json, txt, self._shared(self._stem(number))))
        return found

    def lost(self) -> list[int]:
        """Texts whose recording is missing, where those of others are not: once `samples` was asked.

        In a shard where no recording has a text of its kind, it is a README or one of many, as LibriSpeech's.
        """
        kinds = {extension for _, extension in self._used}
        dotted = {extension for stem, extension in self._used if key_of(stem) != stem}
        return sorted(
            number
            for (stem, extension), numbers in self._texts.items()
            if (stem, extension) not in self._used and extension in (dotted if key_of(stem) in self._keys else kinds)
            for number in numbers
        )

    def is_only_one(self, number: int) -> bool:
        """Whether its name without the extension is this recording's alone."""
        return self._stems[self._stem(number)] == 1

    def _stem(self, number: int) -> str:
        return posixpath.splitext(self._names[number])[0]

    def _text(self, stem: str, extension: str, time: int) -> int | None:
        for one in (stem, key_of(stem)):
            if (one, extension) in self._texts and (one == stem or self._keys[one] == 1):
                self._used.add((one, extension))
                numbers = self._texts[one, extension]
                return numbers[min(time, len(numbers) - 1)]
        return None

    def _shared(self, stem: str) -> str | None:
        key = key_of(stem)
        if key in self._stems or self._keys[key] == 1:
            return None
        for extension in TEXTS:
            if (key, extension) in self._texts and (stem, extension) not in self._texts:
                self._used.add((key, extension))
                return f"{key}{extension}"
        return None


def key_of(stem: str) -> str:
    """WebDataset's key: the name up to the first dot of its last part."""
    folder, name = posixpath.split(stem)
    return posixpath.join(folder, name.partition(".")[0])
