"""A Kaldi data directory as a source: wav.scp, segments where there are, and what other files say of each utterance.

Runs nothing: a command in wav.scp becomes a failed row. Knows nothing of the audio.
"""

import posixpath
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import Cut, without_query
from pipeline.shards.place import folder_of
from pipeline.sources.asked import Asked
from pipeline.sources.columns import ColumnTypes, channel_of, cut_of, duration_of, number_of, shown
from pipeline.sources.entries import Entry, Piece, url_of
from pipeline.sources.found import Found
from pipeline.sources.keyed import Keyed
from pipeline.sources.located import Located, base_of
from pipeline.sources.table import ROWS_BETWEEN
from pipeline.sources.textfile import name_of, numbered, text_file
from pipeline.storage_errors import storage_reason

SCP, SEGMENTS, TEXT = "wav.scp", "segments", "text"
COLUMNS = {"spk": "speaker", "lang": "language"}  # what utt2X and spk2X are called, where it is not X
NUM_LINES_TRIED = 1_000  # of wav.scp, for relative paths that tell where they count from
COMMAND = "a command in wav.scp, which is never run: write what it gives to a file"
ARCHIVE = "a place in a Kaldi archive, which is not read: write it to a file"
STREAM = "standard input in wav.scp, which nothing is piped to: write it to a file"
_SPACE = re.compile(r"[ \t]+")
_ARCHIVED = re.compile(r".+:\d+")


def recognised(found: Found, config: ReadConfig) -> bool:
    return any(folder_of(file.path) == found.root.rstrip("/") for file in found.named(SCP))


class Kaldi:
    """The utterances of a directory: its segments, or its recordings where it has none."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        scps = found.named(SCP)
        if len(scps) != 1:
            names = f"several: name one of {', '.join(file.path for file in scps)}" if scps else "none is there"
            raise UsageError(f"{found.url}: a Kaldi directory has one {SCP} ({names})")
        self._directory = Directory(found, config, folder_of(scps[0].path))
        self._found = found
        self._types = ColumnTypes()
        self._asked = Asked(config, "id", TEXT)
        self._num_left_out = self._num_unspoken = 0

    @property
    def description(self) -> str:
        said = ["a Kaldi directory of segments" if SEGMENTS in self._directory else "a Kaldi directory"]
        if self._num_left_out:
            said.append(f"recordings without a segment, left out: {self._num_left_out:,}")
        if self._num_unspoken:
            said.append(f"lines of {TEXT} without an utterance, left out: {self._num_unspoken:,}")
        return "; ".join(said)

    @property
    def schema(self) -> pa.Schema:
        return self._types.schema([])

    def pieces(self) -> Iterator[Piece]:
        directory, scp = self._directory, self._directory.name(SCP)
        facts = _Facts(directory)
        num_entries = num_refused = 0
        for entry in self._segments() if SEGMENTS in directory else self._recordings():
            facts.add_to(entry)
            self._asked.apply(entry)
            self._types.see(entry.columns)
            num_entries += 1
            num_refused += entry.error is not None and entry.error.reason in (COMMAND, ARCHIVE, STREAM)
            yield Piece([entry])
            if num_entries % ROWS_BETWEEN == 0:
                self._found.tell(f"listing the input: {num_entries:,} utterances")
        if not num_entries:
            raise UsageError(f"{scp}: no utterances")
        if num_refused == num_entries:
            raise UsageError(
                f"{scp}: nothing but commands (what ends in |), places in archives (FILE:NUMBER) and standard input "
                "(-). Commands are never run and archives not read: write each recording to a file of its own"
            )
        self._asked.check(self._found.url)
        self._num_unspoken = facts.num_unspoken

    def _recordings(self) -> Iterator[Entry]:
        audio = _Audio(self._directory)
        for _, key, path in self._directory.lines(SCP):
            yield audio.entry(key, key, path)

    def _segments(self) -> Iterator[Entry]:
        audio, recordings = _Audio(self._directory), self._directory.keyed(SCP)
        for number, key, rest in self._directory.lines(SEGMENTS):
            recording, *times = _SPACE.split(rest)
            if len(times) not in (2, 3):
                where = f"{self._directory.name(SEGMENTS)} line {number}"
                raise UsageError(f"{where}: expected an utterance, a recording, a start and an end")
            path = recordings.get(recording)
            if path is None:
                fault = RecordingError("a segment of no recording in wav.scp", shown(recording))
                yield Entry(key, self._directory.url(SCP), error=fault)
                continue
            entry = audio.entry(key, recording, path)
            try:
                entry.cut = _cut(*times)
            except RecordingError as fault:
                entry.error = entry.error or fault
            entry.duration_s = entry.cut.length_s
            yield entry
        self._num_left_out = recordings.num_rows - recordings.num_used


class Directory:
    """The files of a directory, each of lines with a key and what belongs to it."""

    def __init__(self, found: Found, config: ReadConfig, folder: str) -> None:
        self.found, self.folder = found, folder
        self._config = config
        # An input that is wav.scp itself is listed alone.
        try:
            listed = store.patiently(partial(found.files.ls, folder, detail=False), config.storage_deadline_s)
        except OSError as error:
            raise UsageError(f"{found.url}: its folder cannot be listed ({storage_reason(error).reason})") from error
        self._names = {posixpath.basename(path) for path in listed}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def about(self, kind: str) -> dict[str, str]:
        """Files that tell something of each utterance (`utt`) or speaker (`spk`): the column it goes to -> the file."""
        named = {name: re.fullmatch(rf"{kind}2(\w+)", name) for name in sorted(self._names)}
        told = {match[1]: name for name, match in named.items() if match}
        return {COLUMNS.get(what, what): name for what, name in told.items() if what not in ("utt", "dur")}

    def url(self, name: str) -> str:
        return url_of(self.found.files, f"{self.folder}/{name}")

    def name(self, name: str) -> str:
        return name_of(self.found, f"{self.folder}/{name}")

    def lines(self, name: str) -> Iterator[tuple[int, str, str]]:
        """Line number, key, and the rest."""
        shown_name = self.name(name)
        with text_file(self.found, f"{self.folder}/{name}", self._config) as stream:
            for number, line in numbered(stream, shown_name):
                key, *rest = _SPACE.split(line.strip(" \t\r\n"), maxsplit=1)
                if key and not rest and name != TEXT:  # what was said may be nothing
                    raise UsageError(f"{shown_name} line {number}: nothing after {shown(key)}")
                if key:
                    yield number, key, rest[0] if rest else ""

    def keyed(self, name: str) -> Keyed[str]:
        return Keyed(lambda: ((key, rest) for _, key, rest in self.lines(name)), self.name(name))


class _Audio:
    """What wav.scp says of a recording -> an entry of it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        lines = islice(directory.lines(SCP), NUM_LINES_TRIED)
        plain = (path for _, _, path in lines if _refusal(path) is None)
        self._located = Located(directory.found, base_of(directory.found, directory.folder, plain))

    def entry(self, key: str, recording: str, path: str) -> Entry:
        if fault := _refusal(path):
            return Entry(key, self._directory.url(SCP), error=fault)
        try:
            where = self._located(path)
        except UsageError as error:
            raise UsageError(f"{self._directory.name(SCP)}: {recording}: {error}") from error
        return Entry(key, where.uri, size=where.size, version=where.version, error=where.error)


class _Facts:
    """What the other files of a directory say of its utterances."""

    def __init__(self, directory: Directory) -> None:
        of_recordings = ("reco2dur",) if SEGMENTS not in directory else ()
        self._texts = directory.keyed(TEXT) if TEXT in directory else None
        self._durations = [directory.keyed(name) for name in ("utt2dur", *of_recordings) if name in directory]
        self._of_utterances = {column: directory.keyed(name) for column, name in directory.about("utt").items()}
        self._of_speakers = {column: directory.keyed(name) for column, name in directory.about("spk").items()}

    @property
    def num_unspoken(self) -> int:
        """Lines of text that belong to no utterance."""
        return self._texts.num_rows - self._texts.num_used if self._texts else 0

    def add_to(self, entry: Entry) -> None:
        entry.reference = self._texts.get(entry.id) if self._texts else None
        for durations in self._durations:
            entry.duration_s = entry.duration_s or duration_of(durations.get(entry.id))
        told = {column: keyed.get(entry.id) for column, keyed in self._of_utterances.items()}
        speaker = told.get(COLUMNS["spk"])
        of_speaker = {name: speaker and keyed.get(speaker) for name, keyed in self._of_speakers.items()}
        entry.columns = told | {name: told.get(name) or value for name, value in of_speaker.items()}


def _refusal(path: str) -> RecordingError | None:
    if path.endswith("|") or path.startswith("|"):
        return RecordingError(COMMAND)
    if path == "-":
        return RecordingError(STREAM)
    return RecordingError(ARCHIVE, shown(without_query(path))) if _ARCHIVED.fullmatch(path) else None


def _cut(start: str, end: str, channel: str | None = None) -> Cut:
    """Of a segment; an end below zero is the recording's."""
    number = None if channel is None else channel_of(channel)
    if channel is not None and number is None:
        raise RecordingError("channel is not a whole number", shown(channel))
    start_s, end_s = number_of(start), number_of(end)
    if end_s is None:
        raise RecordingError("segment without a valid end", shown(end))
    # Rounded, because differences of decimal fractions are none.
    length_s = None if end_s < 0 or start_s is None else round(end_s - start_s, 6)
    return cut_of(start, length_s, number)
