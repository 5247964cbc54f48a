"""Inputs made of tar shards: what each holds, several of a store at the same time, and where units may be cut.

Knows nothing of which members belong together.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import Span, without_query
from pipeline.shards import tars
from pipeline.shards.damage import damage_of
from pipeline.shards.tars import Member
from pipeline.sources.columns import Columns, ColumnTypes, duration_of, flat, text_of, value_of
from pipeline.sources.entries import Entry, Piece, is_audio
from pipeline.sources.found import File, Found
from pipeline.sources.inorder import REMOTE_SHARDS, in_order
from pipeline.sources.passes import is_full

ENDINGS = (".tar", *tars.COMPRESSED)
MAX_TEXT = 2**20  # bytes of one text beside a recording
MAX_TEXTS = 2**25  # of all those of a shard that are held; more are read again, or, of a compressed shard, left out
MEMBER = "member"  # what stands for the column of paths: the shard itself says where the audio is
TOO_DEEP = "what is said of it is nested too deeply"
NUM_TOLD = 3  # of unlisted members, by name
NUM_AGAIN = 256  # texts read again in one go


@dataclass(frozen=True)
class Shard:
    """A shard as it was listed."""

    file: File
    url: str
    stem: str  # what the ids of its recordings begin with
    members: list[Member] = field(default_factory=list)
    texts: dict[int, bytes] = field(default_factory=dict)  # of those asked for, by where they begin
    error: RecordingError | None = None  # why there are no more members

    def entry(self, member: Member, name: str | None = None) -> Entry:
        """A recording in it, by default named as the member without its extension."""
        name = posixpath.normpath(posixpath.splitext(member.name)[0] if name is None else name)
        span = Span(member.name, member.start)
        entry = Entry(f"{self.stem}/{name}", self.url, size=member.size, span=span, version=self.file.version or None)
        if member.odd is not None:
            entry.error = RecordingError("not a plain file in its shard", f"{member.name} is {member.odd}")
        return entry

    def failed(self, error: RecordingError, name: str = "") -> Entry:
        """Something of it that is no recording."""
        where = f"{self.stem}/{name}" if name else self.stem
        return Entry(where, self.url, version=self.file.version or None, error=error)

    def pieces(self, entries: Iterable[Entry]) -> Iterator[Piece]:
        """Of an uncompressed shard each by itself; of a compressed one each piece costs a pass from the start."""
        if not tars.is_compressed(self.file.path):
            yield from (Piece([entry], self.file.path) for entry in entries)
            return
        together = list(entries)
        piece: list[Entry] = []
        seconds = 0.0
        for entry in together:
            if is_full(len(piece), seconds, entry.seconds, len(together)):
                yield Piece(piece, self.file.path)
                piece, seconds = [], 0.0
            piece.append(entry)
            seconds += entry.seconds
        if piece:
            yield Piece(piece, self.file.path)


class Records:
    """What a record beside each recording says of it, and which columns the input has."""

    def __init__(self, config: ReadConfig) -> None:
        self._config = config
        self._types = ColumnTypes()
        self._names: Columns | None = None

    @property
    def schema(self) -> pa.Schema:
        return self._types.schema([])

    def describe(
        self, entry: Entry, record: dict[str, Any], used: tuple[str, ...] = (), reference: str | None = None
    ) -> None:
        """What is neither used otherwise nor the id, reference or duration passes through. `reference` is the column
        of the reference whatever others there are, unless the user names one.
        """
        try:
            record = {name: flat(value) for name, value in record.items()}
        except UsageError as error:
            entry.error = entry.error or RecordingError(TOO_DEEP, str(error))
            return
        names = Columns.choose(record, self._config, path=MEMBER)
        assert names is not None
        if reference is not None and self._config.reference_column is None:
            names = replace(names, reference=reference)
        self._names = names if self._names is None else self._names.merged(names)
        entry.id = text_of(value_of(record, names.id)) or entry.id
        entry.reference = text_of(value_of(record, names.reference))
        entry.duration_s = duration_of(value_of(record, names.duration))
        used = (*used, *names.used())
        entry.columns = {name: value for name, value in record.items() if name not in used or name == MEMBER}
        self._types.see(entry.columns)

    def finish(self, where: str) -> None:
        """After the last one."""
        if self._names is not None:
            self._names.check(self._config, where)


class Unlisted:
    """Members that should be recordings, but that no line of a manifest names: one failed row says how many."""

    def __init__(self) -> None:
        self._number, self._some = 0, list[str]()

    def add(self, shard: Shard, names: Iterable[str]) -> None:
        for name in names:
            self._number += 1
            if len(self._some) < NUM_TOLD:
                self._some.append(f"{shard.stem}: {name}")

    def pieces(self, found: Found, manifest: File) -> Iterator[Piece]:
        if not self._number:
            return
        detail = f"{self._number:,} members, {'as' if self._number > NUM_TOLD else 'namely'} {', '.join(self._some)}"
        error = RecordingError("in a shard, but not in the manifest", detail)
        url = found.url_of(manifest)
        yield Piece([Entry(found.relative(manifest), url, version=manifest.version or None, error=error)])


def shards(
    found: Found, files: list[File], config: ReadConfig, wanted: Callable[[str], bool] = lambda name: False
) -> Iterator[Shard]:
    """Each file listed, with the texts of the members whose names are wanted. `UsageError` where none can be read."""
    num_at_once = 1 if store.is_local(found.files) else REMOTE_SHARDS
    unusable: Shard | None = None
    num_usable = 0
    for number, (_, listed) in enumerate(in_order(files, partial(_listed, found, config, wanted), num_at_once)):
        found.tell(f"listing the input: {number:,} of {len(files):,} shards")
        shard = next(listed)
        if shard.error is None or shard.members:
            num_usable += 1
        else:
            unusable = shard
        yield shard
    if unusable is not None and unusable.error is not None and not num_usable:
        why = unusable.error.detail or unusable.error.reason
        where = without_query(found.url)
        raise UsageError(f"{where}: none of its shards can be read ({without_query(unusable.url)}: {why})")


def _listed(found: Found, config: ReadConfig, wanted: Callable[[str], bool], file: File) -> Iterator[Shard]:
    members: list[Member] = []
    texts: dict[int, bytes] = {}
    left = MAX_TEXTS
    error = None

    def is_wanted(member: Member) -> bool:
        return member.odd is None and member.size <= min(MAX_TEXT, left) and wanted(member.name)

    url = found.url_of(file)
    try:
        for member, text in tars.walk(found.files, file.path, config, is_wanted):
            members.append(member)
            if text is not None:
                texts[member.start] = text
                left -= len(text)
    except RecordingError as fault:
        error = damage_of(fault, url)
    yield Shard(file, url, stem_of(found, file), members, texts, error)


def stem_of(found: Found, file: File) -> str:
    name = found.relative(file._replace(path=without_query(file.path)))  # a presigned query is as good as a password
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), name)


def read_again(found: Found, shard: Shard, members: list[Member], config: ReadConfig) -> dict[int, bytes]:
    """Texts that there was no room for, by where they begin; those that are too long or cannot be read are left out."""
    if tars.is_compressed(shard.file.path):
        return {}
    fit = [member for member in members if member.odd is None and member.size <= MAX_TEXT]
    starts, ends = [member.start for member in fit], [member.start + member.size for member in fit]
    parts = store.read_ranges(found.files, [shard.file.path] * len(fit), starts, ends, config.storage_deadline_s)
    return {start: part for start, part in zip(starts, parts, strict=True) if isinstance(part, bytes)}


def is_hidden(name: str) -> bool:
    """As `._a.flac`, which macOS adds to archives. A leading `_` is what NeMo makes of a leading `/`."""
    return posixpath.basename(name).startswith(".")


def is_recording(member: Member) -> bool:
    return is_audio(member.name) and not is_hidden(member.name)
