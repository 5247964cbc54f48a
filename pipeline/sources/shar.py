"""Lhotse Shar as a source: `cuts.000000.jsonl.gz` says what lies in `recording.000000.tar`; one row is one cut.

What lies there is the audio of the cut, one or more channels, not that of the recording it was taken from: `start` and
`duration` count in it, and `channel` numbers channels of the original. Knows nothing of how a shard is read (`tarred`).
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import WHOLE, Cut, without_query
from pipeline.shards.tars import Member
from pipeline.sources.columns import cut_of, duration_of, number_of, shown, text_of
from pipeline.sources.cuts import OF_CUT, OF_SUPERVISION, both, columns_of
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.jsonlines import records
from pipeline.sources.tarred import ENDINGS, TOO_DEEP, Records, Shard, Unlisted, is_recording, shards, stem_of
from pipeline.sources.textfile import name_of, text_file

AUDIO_FIELD = "recording"  # the other fields of a cut are features, targets and the like
TOLERANCE_S = 0.001  # within which a cut is all of its audio: durations are rounded to some digits
ID, TEXT, DURATION = "id", "text", "duration"

_CUTS = re.compile(r"(^|/)cuts(\.[^/]+)?\.jsonl(\.gz)?$")
_NO_AUDIO = (".json", ".nodata", ".nometa")  # what is said of the audio, and what stands where there is none
_DATA = {"sources", "storage_type", "array"}  # of a custom field that lies in a tar of its own
_OF_CUT = {*OF_CUT, TEXT, "tracks"}  # what is no column of its own


class _Pair(NamedTuple):
    """A shard of cuts and one of their audio."""

    cuts: File | None
    tar: File | None


def recognised(found: Found, config: ReadConfig) -> bool:
    """By names: some cuts with their recordings beside them."""
    return not found.is_one_file and any(pair.tar is not None for pair in _pairs(found))


class Shar:
    """Every shard of cuts with its audio."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._found, self._config = found, config
        self._all = _pairs(found)
        self._files = [pair.tar for pair in self._all if pair.tar is not None]
        if not self._files:
            raise UsageError(
                f"{without_query(found.url)}: no cuts.*.jsonl.gz with {AUDIO_FIELD}.*.tar beside them in it"
            )
        self.description = f"Lhotse Shar of {len(self._all):,} shard{'s' if len(self._all) > 1 else ''}"
        self._records = Records(config)
        self._unlisted = Unlisted()

    @property
    def schema(self) -> pa.Schema:
        return self._records.schema

    def pieces(self) -> Iterator[Piece]:
        listed = shards(self._found, self._files, self._config)
        for cuts, tar in self._all:
            if tar is not None:
                shard = next(listed)
                yield from shard.pieces(self._entries(shard, cuts))
                if shard.error is not None and cuts is None:  # else it is the reason of those whose audio is missing
                    yield Piece([shard.failed(shard.error)], tar.path)
            elif cuts is not None:
                error = RecordingError("missing shard", f"no {AUDIO_FIELD} shard beside its cuts")
                shard = Shard(cuts, self._found.url_of(cuts), self._stem(cuts), error=error)
                yield from (Piece([entry]) for entry in self._entries(shard, cuts))
        next(listed, None)  # which says so where no shard could be read
        yield from self._unlisted.pieces(self._found, self._all[0].cuts or self._files[0])
        self._records.finish(without_query(self._found.url))

    def _entries(self, shard: Shard, cuts: File | None) -> Iterator[Entry]:
        members: dict[str, list[Member]] = defaultdict(list)
        for member in shard.members:
            stem, extension = posixpath.splitext(member.name.removeprefix("./"))
            if extension not in _NO_AUDIO:
                members[stem].append(member)
        for cut in self._cuts(cuts):
            if isinstance(cut, RecordingError):
                yield shard.failed(cut, "cuts")
                continue
            name = None if isinstance(cut.get(ID), dict | list) else text_of(cut.get(ID))
            there = members.get(name or "", [])
            if there:
                entry = shard.entry(there[0])
                del there[0]
            else:
                entry = shard.failed(
                    shard.error or RecordingError("no audio in its shard", f"of the cut {shown(name)}")
                )
            self._describe(entry, cut)
            yield entry
        self._unlisted.add(shard, (member.name for some in members.values() for member in some if is_recording(member)))

    def _describe(self, entry: Entry, cut: dict[str, Any]) -> None:
        try:
            self._records.describe(entry, _record(cut), used=(DURATION,), reference=TEXT)
            entry.cut = _cut(cut)
        except UsageError as error:
            entry.error = entry.error or RecordingError(TOO_DEEP, str(error))
        except RecordingError as error:
            entry.error = entry.error or error

    def _cuts(self, file: File | None) -> Iterator[dict[str, Any] | RecordingError]:
        """Of a shard, and why there are no more."""
        if file is None:
            return
        try:
            with text_file(self._found, file.path, self._config) as stream:
                yield from (cut for _, cut in records(stream, name_of(self._found, file.path)))
        except UsageError as error:
            cause = error.__cause__ and (error.__cause__.__cause__ or error.__cause__)
            if cause is not None and store.is_temporary(cause):
                raise  # another night the store may answer
            yield RecordingError("damaged cuts", str(error))

    def _stem(self, cuts: File) -> str:
        return self._found.relative(cuts).partition(".jsonl")[0]


def _pairs(found: Found) -> list[_Pair]:
    """By folder and number; tars of other fields are let be."""
    cuts: dict[tuple[str, str], File] = {}
    tars: dict[tuple[str, str], File] = {}
    for file in found.ending(".jsonl", ".jsonl.gz"):
        if match := _CUTS.search(file.path):
            cuts[posixpath.dirname(file.path), match[2] or ""] = file
    for file in found.ending(*ENDINGS):
        field, dot, number = posixpath.basename(stem_of(found, file)).partition(".")
        if field == AUDIO_FIELD:
            tars[posixpath.dirname(file.path), dot + number] = file
    folders = {folder for folder, _ in cuts}
    return [_Pair(cuts.get(key), tars.get(key)) for key in sorted({*cuts, *tars}) if key[0] in folders]


def _record(cut: dict[str, Any]) -> dict[str, Any]:
    """A cut as columns: those of its supervision, where it has just one, and its own."""
    said = _supervisions(cut)
    texts = [text for one in said if (text := text_of(one.get(TEXT))) is not None]
    record = _columns(said[0], OF_SUPERVISION) if len(said) == 1 else {}
    own = {ID: cut.get(ID), TEXT: " ".join(texts) if texts else None, DURATION: cut.get(DURATION)}
    return both(record, _columns(cut, _OF_CUT)) | own


def _supervisions(cut: dict[str, Any]) -> list[dict[str, Any]]:
    """In the order of time; those of a mixed cut lie in its tracks."""
    placed = [(0.0, cut)]
    for track in _objects(cut.get("tracks")):
        placed += [(number_of(track.get("offset")) or 0.0, one) for one in _objects([track.get("cut")])]
    timed = [
        (offset + (number_of(one.get("start")) or 0.0), one)
        for offset, within in placed
        for one in _objects(within.get("supervisions"))
    ]
    return [one for _, one in sorted(timed, key=lambda pair: pair[0])]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _columns(holder: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """But for what lies in tars of their own, and what says nothing."""
    custom = holder.get("custom")
    told = _without_data(holder) | ({"custom": _without_data(custom)} if isinstance(custom, dict) else {})
    return columns_of(told, own)


def _without_data(fields: dict[str, Any]) -> dict[str, Any]:
    is_data = {name for name, value in fields.items() if isinstance(value, dict) and value.keys() & _DATA}
    return {name: value for name, value in fields.items() if value is not None and name not in is_data}


def _cut(cut: dict[str, Any]) -> Cut:
    """What of its audio a cut is: all, unless it was cut again after it was written."""
    start, length_s = number_of(cut.get("start")) or 0.0, duration_of(cut.get(DURATION))
    recording = cut.get(AUDIO_FIELD)
    whole_s = duration_of(recording.get(DURATION)) if isinstance(recording, dict) else None
    if not start and (length_s is None or whole_s is None or whole_s - length_s <= TOLERANCE_S):
        return WHOLE
    return cut_of(start, cut.get(DURATION))
