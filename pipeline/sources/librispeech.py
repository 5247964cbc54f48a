"""LibriSpeech's layout as a source: speaker/chapter/utterance.flac, and each chapter's transcript beside them.

Knows nothing of the audio.
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.sources.columns import ColumnTypes
from pipeline.sources.entries import BYTES_PER_SECOND, Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.textfile import MAX_LINE_BYTES, decoded, name_of, text_file
from pipeline.storage_errors import storage_reason

TRANSCRIPT = ".trans.txt"
NUM_TRIED = 8  # transcripts, to find one with audio beside it
CHAPTERS_AT_ONCE = 64  # whose transcripts are fetched together, where each request takes its time
_UTTERANCE = re.compile(r"([^-]+)-([^-]+)-([^-]+)")  # speaker, chapter, number


def recognised(found: Found, config: ReadConfig) -> bool:
    """By a transcript that names audio beside it: other texts end in .trans.txt, too."""
    some = [] if found.is_one_file else islice(found.listed.ending(TRANSCRIPT), NUM_TRIED)
    return any(_is_transcript(found, file, config) for file in some)


def _is_transcript(found: Found, file: File, config: ReadConfig) -> bool:
    stems = {_stem(audio.path) for audio in found.listed.below(posixpath.dirname(file.path)).ending(*BYTES_PER_SECOND)}
    with text_file(found, file.path, config) as stream:
        lines = stream.read(MAX_LINE_BYTES).decode(errors="replace").splitlines()
    return any(line.partition(" ")[0] in stems for line in lines if line)


class LibriSpeech:
    """A tree of chapters. What has no line in a transcript has no reference; a line without audio is a failed row."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        transcripts = found.ending(TRANSCRIPT)
        if found.is_one_file or not transcripts:
            raise UsageError(f"{found.url}: not LibriSpeech (a folder with speaker/chapter/*{TRANSCRIPT} below it)")
        self._transcripts: dict[str, list[File]] = {}
        for file in transcripts:
            self._transcripts.setdefault(posixpath.dirname(file.path), []).append(file)
        self._found, self._config = found, config
        self._types = ColumnTypes()
        self.description = f"LibriSpeech, {len(transcripts):,} chapters"

    @property
    def schema(self) -> pa.Schema:
        return self._types.schema([name for name in self._asked_for().values() if name])

    def pieces(self) -> Iterator[Piece]:
        for piece in self._chapters():
            for entry in piece.entries:
                self._name(entry)
            yield piece
        self._check()

    def _chapters(self) -> Iterator[Piece]:
        audio = self._found.listed.ending(*BYTES_PER_SECOND)
        by_folder = groupby(audio, lambda file: posixpath.dirname(file.path))
        chapters = ((folder, list(files)) for folder, files in by_folder)
        left = dict(self._transcripts)  # of folders that were not come by
        without_audio: dict[str, dict[str, str]] = {}
        num_chapters = 0
        while some := list(islice(chapters, CHAPTERS_AT_ONCE)):
            lines = self._lines({folder: left.pop(folder) for folder, _ in some if folder in left})
            for folder, files in some:
                texts = without_audio[folder] if folder in without_audio else lines.get(folder, {})
                yield from (Piece([self._entry(file, texts)]) for file in files)
                with_audio = {_stem(file.path) for file in files}
                without_audio[folder] = {name: texts[name] for name in texts if name not in with_audio}
            num_chapters += len(some)
            self._found.tell(f"listing the input: {num_chapters:,} chapters")
        for folder, texts in (without_audio | self._lines(left)).items():
            yield from (Piece([self._missing(folder, name, text)]) for name, text in texts.items())

    def _asked_for(self) -> dict[str, str | None]:
        return {"id_column": self._config.id_column, "reference_column": self._config.reference_column}

    def _name(self, entry: Entry) -> None:
        """With the id and the reference that were asked for, where not those of the transcripts."""
        asked = self._asked_for()
        if name := asked["id_column"]:
            entry.id = entry.columns.get(name) or entry.id
        if name := asked["reference_column"]:
            entry.reference = entry.columns.get(name)

    def _check(self) -> None:
        columns = self._types.schema([]).names
        for option, name in self._asked_for().items():
            if name is not None and name not in columns:
                raise UsageError(
                    f"{self._found.url}: no column {name} (read.{option}); LibriSpeech has {', '.join(columns)}"
                )

    def _lines(self, transcripts: dict[str, list[File]]) -> dict[str, dict[str, str]]:
        """By folder, by utterance."""
        wanted = [(folder, file) for folder, files in transcripts.items() for file in files]
        for _, file in wanted:
            if file.size > MAX_LINE_BYTES:
                raise UsageError(f"{name_of(self._found, file.path)}: {file.size:,} bytes are no chapter's transcript")
        paths = [file.path for _, file in wanted]
        read = store.read_ranges(self._found.files, paths, None, None, self._config.storage_deadline_s) if paths else []
        lines: dict[str, dict[str, str]] = {folder: {} for folder in transcripts}
        for (folder, file), data in zip(wanted, read, strict=True):
            if isinstance(data, Exception):
                raise UsageError(f"{name_of(self._found, file.path)}: {storage_reason(data).reason}") from data
            self._add(lines[folder], file, data)
        return lines

    def _add(self, texts: dict[str, str], file: File, data: bytes) -> None:
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            where = f"{name_of(self._found, file.path)} line {number}"
            name, _, text = decoded(line, where).strip().partition(" ")
            if name in texts:
                raise UsageError(f"{where}: {name} twice")
            if name:
                texts[name] = text

    def _entry(self, file: File, texts: dict[str, str]) -> Entry:
        name = _stem(file.path)
        of_layout = name in texts or _UTTERANCE.fullmatch(name)
        return Entry(
            id=name if of_layout else self._found.relative(file),
            uri=self._found.url_of(file),
            size=file.size if file.version else None,
            reference=texts.get(name),
            columns=self._columns(file, name),
            version=file.version or None,
        )

    def _missing(self, folder: str, name: str, text: str) -> Entry:
        file = File(f"{folder}/{name}.flac", 0, "")
        fault = RecordingError("no audio file for a line of a transcript")
        return Entry(name, self._found.url_of(file), reference=text, columns=self._columns(file, name), error=fault)

    def _columns(self, file: File, name: str) -> dict[str, Any]:
        parts = _UTTERANCE.fullmatch(name)
        columns: dict[str, Any] = {"speaker": parts and parts[1], "chapter": parts and parts[2]}
        if above := posixpath.dirname(posixpath.dirname(posixpath.dirname(self._found.relative(file)))):
            columns["subset"] = above  # dev-clean, where the input holds more than one
        self._types.see(columns)
        return columns


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]
