"""Tarred NeMo datasets as a source: tars of audio, and JSON lines that say what of them is one recording.

The lines decide what the corpus is, as they do for NeMo: members that none of them names are counted in one failed
row. Plain NeMo manifests are `jsonlines`'s. Knows nothing of how a shard is read (`tarred`).
"""

import contextlib
import io
import json
import posixpath
import re
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import without_query
from pipeline.shards.place import folder_of
from pipeline.shards.tars import Member
from pipeline.sources import found as inputs
from pipeline.sources.columns import cut_of, shown
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.jsonlines import records
from pipeline.sources.nemo_members import Members
from pipeline.sources.tarred import ENDINGS, Records, Shard, Unlisted, is_recording, shards
from pipeline.sources.textfile import first_line, is_gzipped, lines_of, name_of, text_file
from pipeline.storage_errors import storage_reason

PATH, OTHER_PATH = "audio_filepath", "audio_file"
SHARD = "shard_id"
OFFSET, DURATION = "offset", "duration"

_FOR_ALL = re.compile(r"tarred_audio_manifest[^/]*\.jsonl?(\.gz)?$")
_FOR_ONE = re.compile(r"manifest[^/]*_(\d+)[^/]*\.jsonl?(\.gz)?$")
_ENDING = re.compile(r"\.(tar|tgz|jsonl?)(\.gz)?$", re.IGNORECASE)
_OF_ALL = re.compile(r"[-_]of[-_]\d+$")


def recognised(found: Found, config: ReadConfig) -> bool:
    """By names, but for a manifest of something else, whose first line names no audio; a manifest that is given by its
    own name, by the shard that its first line names.
    """
    if found.is_one_file:
        file = found.listed[0]
        return _is_json(file.path) and SHARD in _fields(first_line(found, file.path, config))
    if not found.listed.ending(*ENDINGS):
        return False
    return any(_FOR_ALL.search(f.path) or _is_for_one(found, f, config) for f in _json(found))


def _is_for_one(found: Found, file: File, config: ReadConfig) -> bool:
    if not _FOR_ONE.search(file.path):
        return False
    first = _fields(first_line(found, file.path, config))
    return not first or PATH in first or OTHER_PATH in first  # of what cannot be read it is said when it is


class _Lines(NamedTuple):
    """Where the lines of one shard are in a manifest: starts and ends by turns; None: all of it."""

    file: File
    places: "array[int] | None" = None
    unpacked: BinaryIO | None = None  # what the places are in, where the manifest is gzipped


@dataclass(frozen=True)
class _Folder:
    """Tars that lie together, and what the manifests say of them."""

    tars: dict[int, File]
    lines: dict[int, _Lines]


class NemoTarred:
    """Every tar with its lines; several cuts of one member are several recordings."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._config = config
        self._found, manifests = _with_tars(found, config)
        self._is_one_file = found.is_one_file  # then shards that it does not name are no part of the input
        self._records = Records(config)
        self._unlisted = Unlisted()
        self._manifests = manifests
        tars = self._found.ending(*ENDINGS)
        if not tars or not manifests:
            missing = "tar shards" if manifests else "tarred_audio_manifest.json or manifest_N.json"
            raise UsageError(f"{without_query(found.url)}: no {missing} there, nor in the folder above")
        num_shards = f" of {len(tars):,} shard{'s' if len(tars) > 1 else ''}" * (not found.is_one_file)
        self.description = f"a tarred NeMo dataset{num_shards}"

    @property
    def schema(self) -> pa.Schema:
        return self._records.schema

    def pieces(self) -> Iterator[Piece]:
        with contextlib.ExitStack() as opened:
            for folder in self._folders(opened):
                yield from self._folder_pieces(folder)
        yield from self._unlisted.pieces(self._found, self._manifests[0])
        self._records.finish(without_query(self._found.url))

    def _folder_pieces(self, folder: _Folder) -> Iterator[Piece]:
        numbers = sorted(folder.tars.keys() & folder.lines.keys() if self._is_one_file else folder.tars)
        listed = shards(self._found, [folder.tars[number] for number in numbers], self._config)
        for number, shard in zip(numbers, listed, strict=True):
            entries = list(self._entries(shard, folder.lines.get(number)))
            if shard.error is not None and not entries:
                entries = [shard.failed(shard.error)]
            yield from shard.pieces(sorted(entries, key=_place))
        for number in sorted(folder.lines.keys() - folder.tars.keys()):
            missing = File(f"{SHARD} {number}", 0, "")
            manifest = folder.lines[number].file
            url = self._found.url_of(manifest)
            error = RecordingError("missing shard", f"no tar whose name has the number {number}")
            shard = Shard(
                missing, url, f"{posixpath.splitext(self._found.relative(manifest))[0]}/{number}", error=error
            )
            yield from (Piece([entry]) for entry in self._entries(shard, folder.lines[number]))

    def _entries(self, shard: Shard, lines: _Lines | None) -> Iterator[Entry]:
        members = Members(shard.members)
        left = {member.start: member.name for member in shard.members if is_recording(member)}
        for where, record in self._of_shard(lines):
            path = _path_of(record, where)
            member = members.of(path)
            entry = self._entry(shard, path, member)
            if member is not None:
                left.pop(member.start, None)
            self._describe(entry, record)
            yield entry
        self._unlisted.add(shard, sorted(left.values()))

    def _entry(self, shard: Shard, path: str, member: Member | None) -> Entry:
        name = posixpath.splitext(path)[0]
        if member is not None:
            return shard.entry(member, name)
        return shard.failed(shard.error or RecordingError("missing from its shard", path), name)

    def _describe(self, entry: Entry, record: dict[str, Any]) -> None:
        self._records.describe(entry, record, used=(PATH, OTHER_PATH, SHARD, OFFSET))
        if record.get(OFFSET) is None:
            return
        try:
            entry.cut = cut_of(record[OFFSET], record.get(DURATION))
        except RecordingError as error:
            entry.error = entry.error or error

    def _of_shard(self, lines: _Lines | None) -> Iterator[tuple[str, dict[str, Any]]]:
        """With where in the manifest they are."""
        if lines is None:
            return
        name = name_of(self._found, lines.file.path)
        if lines.places is None:
            with text_file(self._found, lines.file.path, self._config) as stream:
                yield from ((f"{name} line {number}", record) for number, record in records(stream, name))
            return
        starts, ends = list(lines.places[::2]), list(lines.places[1::2])
        for part in self._parts(lines, starts, ends):
            if isinstance(part, Exception):
                fault = storage_reason(part)
                raise UsageError(f"{name}: {fault.reason}{f' ({fault.detail})' if fault.detail else ''}") from part
            yield from ((name, record) for _, record in records(io.BufferedReader(io.BytesIO(part)), name))

    def _parts(self, lines: _Lines, starts: list[int], ends: list[int]) -> Iterable[bytes | Exception]:
        if lines.unpacked is None:
            paths = [lines.file.path] * len(starts)
            return store.read_ranges(self._found.files, paths, starts, ends, self._config.storage_deadline_s)
        return _parts_of(lines.unpacked, starts, ends)

    def _folders(self, opened: contextlib.ExitStack) -> Iterator[_Folder]:
        """By where the tars lie; one manifest for all of them goes before one for each."""
        by_folder: dict[str, list[File]] = defaultdict(list)
        for file in self._found.ending(*ENDINGS):
            by_folder[posixpath.dirname(file.path)].append(file)
        tars = {folder: self._numbered(files) for folder, files in by_folder.items()}
        manifests: dict[str, list[File]] = defaultdict(list)
        for file in self._manifests:
            folder_name = posixpath.dirname(file.path)
            folder_name = folder_name if folder_name in tars else posixpath.dirname(folder_name)
            manifests[folder_name].append(file)
        for folder_name in sorted(manifests if self._is_one_file else {*tars, *manifests}):
            here = tars.get(folder_name, {})
            yield _Folder(here, self._lines(manifests[folder_name], here, opened))

    def _numbered(self, files: list[File]) -> dict[int, File]:
        numbered: dict[int, File] = {}
        for file in files:
            number = _number(file.path)
            if number in numbered:
                raise UsageError(f"{self._found.url_of(numbered[number])} and {file.path} have the same number")
            numbered[number] = file
        return numbered

    def _lines(self, manifests: list[File], tars: dict[int, File], opened: contextlib.ExitStack) -> dict[int, _Lines]:
        for_all = [file for file in manifests if _FOR_ALL.search(file.path) or not _FOR_ONE.search(file.path)]
        if len(for_all) > 1:
            raise UsageError(
                f"{self._found.url_of(for_all[0])} and {for_all[1].path} describe the same shards; give one by its name"
            )
        if not for_all:
            return {number: _Lines(file) for number, file in self._numbered(manifests).items()}
        places: dict[int, array[int]] = defaultdict(lambda: array("q"))
        # Of a gzipped one no part can be read alone.
        unpacked: BinaryIO | None = None
        if is_gzipped(for_all[0].path):
            unpacked = opened.enter_context(cast(BinaryIO, tempfile.TemporaryFile()))  # noqa: SIM115
        for number, start, end in self._placed(for_all[0], [*tars], unpacked):
            ends = places[number]
            if ends and ends[-1] == start:
                ends[-1] = end
            else:
                ends.extend((start, end))
        return {number: _Lines(for_all[0], ends, unpacked) for number, ends in places.items()}

    def _placed(self, file: File, numbers: list[int], unpacked: BinaryIO | None) -> Iterator[tuple[int, int, int]]:
        """Of each line its shard, where it begins and where it ends: all that is held of a manifest of millions."""
        name, end = name_of(self._found, file.path), 0
        with text_file(self._found, file.path, self._config) as stream:
            for row, line in lines_of(stream, name):
                start, end = end, end + len(line)
                if unpacked is not None:
                    unpacked.write(line)
                if not line.strip():
                    continue
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"{name} line {row}: not JSON ({error})") from error
                number = numbers[0] if len(numbers) == 1 else None
                if isinstance(value, dict):
                    _path_of(value, f"{name} line {row}")
                    number = value.get(SHARD, number)
                if not isinstance(number, int) or isinstance(number, bool):
                    raise UsageError(f"{name} line {row}: no {SHARD} (a number), and {len(numbers)} tars")
                yield number, start, end


def _parts_of(file: BinaryIO, starts: list[int], ends: list[int]) -> Iterator[bytes]:
    for start, end in zip(starts, ends, strict=True):
        file.seek(start)
        yield file.read(end - start)


def _path_of(record: dict[str, Any], where: str) -> str:
    path = record.get(PATH, record.get(OTHER_PATH))
    if not isinstance(path, str) or not path:
        raise UsageError(f"{where}: {shown(path)} is not a path ({PATH})")
    return path


def _with_tars(found: Found, config: ReadConfig) -> tuple[Found, list[File]]:
    """What is there, with the folder around a manifest that was given by its name; and the manifests."""
    if not found.is_one_file:
        return found, [file for file in _json(found) if _FOR_ALL.search(file.path) or _FOR_ONE.search(file.path)]
    manifest = found.listed[0]
    around = found
    folder = folder_of(manifest.path)
    for _ in range(2):
        url = found.url_of(manifest._replace(path=folder))
        around = inputs.find(url, tell=found.tell, deadline_s=config.storage_deadline_s)
        if around.ending(*ENDINGS):
            break
        folder = posixpath.dirname(folder)
    return around, [manifest]


def _json(found: Found) -> list[File]:
    return [file for file in found.ending(".json", ".jsonl", ".json.gz", ".jsonl.gz") if _is_json(file.path)]


def _is_json(path: str) -> bool:
    return without_query(path).lower().endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz"))


def _fields(line: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # whoever reads it for good says what is wrong
        return {}
    return value if isinstance(value, dict) else {}


def _number(path: str) -> int:
    """The last number in a name, as 7 of `audio_7.tar` and of `audio-7-of-9.tar`."""
    name = _ENDING.sub("", posixpath.basename(without_query(path)))
    numbers = re.findall(r"\d+", _OF_ALL.sub("", name))
    return int(numbers[-1]) if numbers else 0


def _place(entry: Entry) -> tuple[int, float]:
    return (entry.span.start if entry.span else 2**63, entry.cut.offset_s)
