"""Lhotse manifests as a source: recordings with their supervisions, or cuts.

Runs nothing: an audio source that is a command becomes a failed row. Knows nothing of the audio.
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.shards.place import folder_of
from pipeline.sources.asked import Asked
from pipeline.sources.columns import ColumnTypes
from pipeline.sources.cuts import COMMAND, Heard, Recorded, of_cut, of_recording, of_supervision
from pipeline.sources.entries import Entry, Piece, url_of
from pipeline.sources.found import Found
from pipeline.sources.jsonlines import records
from pipeline.sources.keyed import Keyed
from pipeline.sources.located import Located, base_of
from pipeline.sources.table import ROWS_BETWEEN
from pipeline.sources.textfile import name_of, text_file

ENDINGS = (".jsonl", ".jsonl.gz")
RECORDINGS, SUPERVISIONS, CUTS = "recordings", "supervisions", "cuts"
NUM_TRIED = 1_000  # records, for relative paths that tell where they count from
_USUAL = re.compile(f"{RECORDINGS}|{SUPERVISIONS}|{CUTS}")  # in names of files, where they are not the input itself


class Manifests(NamedTuple):
    """What is read together: recordings, with supervisions or alone; or cuts, which hold both."""

    recordings: str | None = None
    supervisions: str | None = None
    cuts: str | None = None


def recognised(found: Found, config: ReadConfig) -> bool:
    return any(_kind(found, path, config) for path in _candidates(found))


class Lhotse:
    """A row for each supervision; for what has none, where nothing beside it has, a row for the recording or cut."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._found, self._config = found, config
        self._manifests = manifests(found, config)
        self._types = ColumnTypes()
        self._asked = Asked(config, "id", "text")
        self._num_left_out = 0

    @property
    def description(self) -> str:
        num_cuts = sum(one.cuts is not None for one in self._manifests)
        num_supervised = sum(one.supervisions is not None for one in self._manifests)
        counts = {"cuts": num_cuts, "recordings with supervisions": num_supervised}
        counts["recordings"] = len(self._manifests) - num_cuts - num_supervised
        said = "Lhotse manifests: " + ", ".join(f"{number} of {what}" for what, number in counts.items() if number)
        left_out = f"; recordings without a supervision, left out: {self._num_left_out:,}"
        return said + (left_out if self._num_left_out else "")

    @property
    def schema(self) -> pa.Schema:
        return self._types.schema([])

    def pieces(self) -> Iterator[Piece]:
        num_entries = num_refused = 0
        for one in self._manifests:
            for entry in self._cuts(one.cuts) if one.cuts else self._recordings(one):
                self._asked.apply(entry)
                self._types.see(entry.columns)
                num_entries += 1
                num_refused += entry.error is not None and entry.error.reason == COMMAND
                yield Piece([entry])
                if num_entries % ROWS_BETWEEN == 0:
                    self._found.tell(f"listing the input: {num_entries:,} rows")
        name = name_of(self._found, self._found.url)
        if not num_entries:
            raise UsageError(f"{name}: empty manifests")
        if num_refused == num_entries:
            raise UsageError(
                f"{name}: all recordings are commands, which are never run: write what each gives to a file and name "
                'that, in sources of type "file"'
            )
        self._asked.check(name)

    def _recordings(self, one: Manifests) -> Iterator[Entry]:
        path = one.recordings
        assert path is not None
        located = self._located(path, (record for _, record in self._records(path)))
        if one.supervisions is None:
            for number, record in self._records(path):
                yield from self._entries(path, number, of_recording(Recorded.of(record)), located)
            return
        keyed = Keyed(
            lambda: ((str(record.get("id")), Recorded.of(record)) for _, record in self._records(path)),
            name_of(self._found, path),
        )
        for number, supervision in self._records(one.supervisions):
            key = str(supervision.get("recording_id"))
            recorded = keyed.get(key)
            heard = of_supervision(supervision, recorded or Recorded.missing(key))
            yield from self._entries(one.supervisions, number, heard, located)
        self._num_left_out += keyed.num_rows - keyed.num_used

    def _cuts(self, path: str) -> Iterator[Entry]:
        inner = (record["recording"] for _, record in self._records(path) if isinstance(record.get("recording"), dict))
        located = self._located(path, inner)
        for number, record in self._records(path):
            yield from self._entries(path, number, of_cut(record), located)

    def _entries(self, path: str, number: int, heard: Iterator[Heard], located: Located) -> Iterator[Entry]:
        try:
            for one in heard:
                entry = Entry(
                    one.id or f"{posixpath.basename(path)}:{number}",
                    url_of(self._found.files, path),
                    cut=one.cut,
                    duration_s=one.duration_s,
                )
                entry.reference, entry.columns, entry.error = one.reference, one.columns, one.error
                if one.path is not None:
                    where = located(one.path)
                    entry.uri, entry.size, entry.version = where.uri, where.size, where.version
                    entry.error = entry.error or where.error
                yield entry
        except UsageError as error:
            raise UsageError(f"{name_of(self._found, path)} line {number}: {error}") from error

    def _located(self, path: str, recordings: Iterator[dict[str, Any]]) -> Located:
        folder = folder_of(path)
        paths = (p for record in islice(recordings, NUM_TRIED) for p in Recorded.of(record).paths)
        return Located(self._found, base_of(self._found, folder, paths))

    def _records(self, path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        with text_file(self._found, path, self._config) as stream:
            yield from records(stream, name_of(self._found, path))


def manifests(found: Found, config: ReadConfig) -> list[Manifests]:
    """What of the input belongs together: recordings and supervisions, by name or because there is one of each."""
    kinds = {path: _kind(found, path, config) for path in _candidates(found)}
    by_kind = {kind: [p for p, k in kinds.items() if k == kind] for kind in (RECORDINGS, SUPERVISIONS, CUTS)}
    recordings, supervisions, cuts = by_kind.values()
    if cuts and (recordings or supervisions):
        raise UsageError(f"{found.url}: cuts, and recordings or supervisions; name one kind of them, with a glob")
    if not any(kinds.values()):
        raise UsageError(f"{found.url}: no Lhotse manifest of recordings, supervisions or cuts ({', '.join(ENDINGS)})")
    if cuts:
        return [Manifests(cuts=path) for path in cuts]
    if found.is_one_file:  # the other of the two may lie beside it
        here, wanted = (RECORDINGS, SUPERVISIONS) if recordings else (SUPERVISIONS, RECORDINGS)
        folder, name = posixpath.split(next(iter(kinds)))
        other = posixpath.join(folder, name.replace(here, wanted))
        if here in name and found.files.exists(other):
            (supervisions if recordings else recordings).append(other)
    return _paired(recordings, supervisions)


def _paired(recordings: list[str], supervisions: list[str]) -> list[Manifests]:
    if len(recordings) == len(supervisions) == 1:
        return [Manifests(recordings[0], supervisions[0])]
    by_name = {_common(path): path for path in supervisions}
    pairs = [Manifests(path, by_name.pop(_common(path), None)) for path in recordings]
    if by_name:
        raise UsageError(f"{next(iter(by_name.values()))}: no manifest of the recordings that it is about")
    return pairs


def _common(path: str) -> str:
    """What the names of recordings and of their supervisions share."""
    folder, name = posixpath.split(path.removesuffix(".gz"))
    return posixpath.join(folder, name.replace(SUPERVISIONS, RECORDINGS))


def _candidates(found: Found) -> list[str]:
    """The input itself, or all of a glob; of a folder, what lies at its top and is called as usual."""
    there = [file.path for file in found.ending(*ENDINGS)]
    if found.is_one_file:
        return there
    usual = [path for path in there if _USUAL.search(posixpath.basename(path))]
    is_glob = len(there) == len(found.listed)
    return [path for path in usual if is_glob or posixpath.dirname(path) == found.root.rstrip("/")]


def _kind(found: Found, path: str, config: ReadConfig) -> str | None:
    """What a manifest lists, by its first record; None for what is none of Lhotse's, or of its features."""
    try:
        with text_file(found, path, config) as stream:
            record = next((record for _, record in records(stream, path)), {})
    except UsageError:  # whoever reads the whole of it says what is wrong
        return None
    if isinstance(record.get("sources"), list):
        return RECORDINGS
    is_cut = "id" in record and str(record.get("type")).endswith("Cut")  # a mixed one has no start
    if is_cut or ("start" in record and "supervisions" in record):
        return CUTS
    is_supervision = {"recording_id", "start", "duration"} <= record.keys() and "storage_type" not in record
    return SUPERVISIONS if is_supervision else None
