"""Members of tars and Arrow streams: byte ranges, neighbours in one request; of a compressed tar, one pass over it.

Knows nothing of how shards are made (`tars`, `arrow_rows`).
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import Blob
from pipeline.read.guard import TOO_MUCH_MEMORY
from pipeline.read.loads import MOST_SENT, Load, Loads, in_parts
from pipeline.read.loose import GROUP_BYTES, WHOLE_BYTES, from_disk, from_store, open_local
from pipeline.records import Recording
from pipeline.shards import tars
from pipeline.shards.arrow_columns import audio_column
from pipeline.shards.arrow_rows import ArrowShard
from pipeline.shards.place import Place, check, check_local
from pipeline.shards.rows import Damage
from pipeline.shards.shardfile import ShardFile
from pipeline.shards.tarheaders import TRUNCATED
from pipeline.storage_errors import storage_reason

RUN_BYTES = GROUP_BYTES // 4  # of neighbours in one request
GAP_BYTES = 2**16  # between two members, to be read with them: less than what another request costs
SKIP_BYTES = 2**20  # at a time of a compressed shard


class _Member(NamedTuple):
    name: str
    start: int
    size: int
    recordings: list[Recording]

    @property
    def end(self) -> int:
        return self.start + self.size


def load_members(uri: str, recordings: list[Recording], config: ReadConfig) -> Loads:
    """Each member once, in the order of the shard."""
    try:
        place = Place.of(uri, config)
        wanted, is_same = _members(recordings), _is_same(place, recordings[0].version, config)
        if not is_same:
            wanted, gone = _found_again(place, wanted, config)
            for member in gone:
                yield Load.of(member.recordings, RecordingError("missing from its shard"))
    except RecordingError as error:
        yield from (Load.of([recording], error) for recording in recordings)
        return
    if tars.is_compressed(place.path):
        yield from _unpacked(place, wanted, config)
    elif place.is_local:
        yield from _local(place, wanted)
    else:
        yield from _remote(place, wanted)


def _members(recordings: list[Recording]) -> list[_Member]:
    by_place: dict[tuple[str, int, int], list[Recording]] = defaultdict(list)
    for recording in recordings:
        assert recording.span is not None and recording.size is not None  # so the manifest has it
        by_place[recording.span.member, recording.span.start, recording.size].append(recording)
    return sorted((_Member(*key, found) for key, found in by_place.items()), key=lambda member: member.start)


def _is_same(place: Place, version: str | None, config: ReadConfig) -> bool:
    """Whether the shard is what was listed; asked of a store only where it matters."""
    if not place.is_local:
        return not version or check(place, version, place.info(), config)
    try:
        return check_local(place, version, os.stat(place.path), config)
    except (OSError, ValueError) as error:
        raise storage_reason(error) from error


def _found_again(place: Place, wanted: list[_Member], config: ReadConfig) -> tuple[list[_Member], list[_Member]]:
    """The members where they lie in the shard as it is now, and those that are in it no more."""
    now: dict[str, list[tars.Member]] = defaultdict(list)
    in_shard = _in_arrow(place) if place.path.endswith(".arrow") else tars.members(place.files, place.path, config)
    for member in in_shard:
        if member.odd is None:
            now[member.name].append(member)
    there: dict[int, _Member] = {}
    gone = []
    for one in wanted:
        found = now[one.name]
        if len(found) > 1:  # of several of one name, which it was can only be told by its place
            found = [member for member in found if member.start == one.start]
        if found:
            _, start, size, _ = found[0]
            others = there[start].recordings if start in there else []
            there[start] = _Member(one.name, start, size, [*others, *one.recordings])
        else:
            gone.append(one)
    return [there[start] for start in sorted(there)], gone


def _in_arrow(place: Place) -> Iterator[tars.Member]:
    with ShardFile(place, place.info()["size"]) as file:
        shard = ArrowShard(file, place.uri)
        for rows in shard.rows(audio_column(shard.schema), []):
            if isinstance(rows, Damage):
                raise rows.error
            spans = ((audio.span, audio.size) for audio in rows.audio if audio.span is not None)
            yield from (tars.Member(span.member, span.start, size or 0) for span, size in spans)


def _local(place: Place, wanted: list[_Member]) -> Loads:
    try:
        descriptor, now = open_local(place)
    except RecordingError as error:
        yield from (Load.of(member.recordings, error) for member in wanted)
        return
    try:
        for member in wanted:
            yield Load.of(member.recordings, _local_member(descriptor, member, now.st_size))
    finally:
        os.close(descriptor)


def _local_member(descriptor: int, member: _Member, shard_size: int) -> bytes | Blob | RecordingError:
    if member.end > shard_size:
        return _cut_off(member)
    try:
        most_held = MOST_SENT if in_parts(member.recordings) else WHOLE_BYTES
        return from_disk(descriptor, member.start, member.size, most_held)
    except RecordingError as error:
        return error


def _remote(place: Place, wanted: list[_Member]) -> Loads:
    """Neighbours in one request, of which as many as fit are under way at once."""
    for group in _groups(_runs([member for member in wanted if member.size <= WHOLE_BYTES])):
        starts, ends = [run[0].start for run in group], [_end(run) for run in group]
        parts = store.read_ranges(place.files, [place.path] * len(group), starts, ends, place.deadline_s)
        for run, data in zip(group, parts, strict=True):
            for member in run:
                yield Load.of(member.recordings, _slice(data, member, run[0].start))
    for member in wanted:
        if member.size > WHOLE_BYTES:
            try:
                yield Load.of(member.recordings, from_store(place, member.start, member.size, WHOLE_BYTES))
            except RecordingError as error:
                yield Load.of(member.recordings, error)


def _runs(wanted: list[_Member]) -> Iterator[list[_Member]]:
    """Neighbours, some MB of them. Those of an Arrow stream may overlap."""
    run: list[_Member] = []
    for member in wanted:
        if run and (member.start - _end(run) > GAP_BYTES or member.end - run[0].start > RUN_BYTES):
            yield run
            run = []
        run.append(member)
    if run:
        yield run


def _end(run: list[_Member]) -> int:
    return max(member.end for member in run)


def _groups(runs: Iterator[list[_Member]]) -> Iterator[list[list[_Member]]]:
    group: list[list[_Member]] = []
    num_bytes = 0
    for run in runs:
        length = _end(run) - run[0].start
        if group and num_bytes + length > GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(run)
        num_bytes += length
    if group:
        yield group


def _slice(data: bytes | Exception, member: _Member, start: int) -> bytes | RecordingError:
    if isinstance(data, Exception):
        return storage_reason(data)
    found = data[member.start - start : member.end - start]
    return found if len(found) == member.size else _cut_off(member)


def _cut_off(member: _Member) -> RecordingError:
    return RecordingError(TRUNCATED, f"it ends within {member.name}")


def _unpacked(place: Place, wanted: list[_Member], config: ReadConfig) -> Loads:
    left = list(wanted)
    try:
        with tars.unpacked(place.files, place.path, config) as stream:
            at = 0
            while left:
                member = left[0]
                data = _passed(stream, at, member, config)
                at = member.end
                yield Load.of(left.pop(0).recordings, data)
    except Exception as error:  # of as many kinds as there are stores
        yield from (Load.of(member.recordings, storage_reason(error)) for member in left)


def _passed(stream: BinaryIO, at: int, member: _Member, config: ReadConfig) -> bytes | RecordingError:
    """A member's bytes, of a stream that is at the byte `at`, which is then at the member's end."""
    is_too_large = member.size > config.max_memory_gb * 2**30
    ahead = (member.end if is_too_large else member.start) - at
    if ahead < 0:
        raise RecordingError("shard not readable", f"{member.name} begins before byte {at}, where another ends")
    while ahead and (skipped := len(stream.read(min(ahead, SKIP_BYTES)))):
        ahead -= skipped
    if is_too_large and not ahead:
        return RecordingError(TOO_MUCH_MEMORY, f"{member.size} bytes of a compressed shard, which has no ranges")
    data = stream.read(member.size) if not is_too_large else b""
    if len(data) != member.size:
        raise _cut_off(member)
    return data
