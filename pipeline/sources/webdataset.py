"""WebDataset as a source: tar shards of audio with `.json` and `.txt` beside it.

Knows nothing of how a shard is read (`tarred`) and which of its members belong together (`samples`).
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import without_query
from pipeline.shards.tars import Member
from pipeline.sources.columns import flat
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.samples import TEXTS, Names, Sample
from pipeline.sources.tarred import ENDINGS, NUM_AGAIN, Records, Shard, is_hidden, read_again, shards, stem_of

REFUSED = {  # by ending, what unpacks them
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd -d"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz -d"),
    **dict.fromkeys((".tar.bz2", ".tbz2", ".tbz"), "bzip2 -d"),
    **dict.fromkeys((".tar.lz4",), "lz4 -d"),
}
TEXT_ERROR = "text_error"  # the column that says why a recording's .json or .txt was not used


def recognised(found: Found, config: ReadConfig) -> bool:
    return bool(found.ending(*ENDINGS, *REFUSED))


class _Text(NamedTuple):
    """What the members beside a recording say of it."""

    record: dict[str, Any]
    reference: str | None  # where the record has none


class WebDataset:
    """Tar shards, each listed once, as they come."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._found, self._config = found, config
        self._url = without_query(found.url)
        self._files, self._refused = found.ending(*ENDINGS), found.ending(*REFUSED)
        if found.is_one_file and not self._refused:
            self._files = list(found.listed)
        if not self._files and self._refused:
            raise UsageError(f"{found.url_of(self._refused[0])}: {_way_out(self._refused[0])}")
        if not self._files:
            raise UsageError(f"{self._url}: no tar shards in it (looked for {' '.join(ENDINGS)})")
        num_shards = len(self._files) + len(self._refused)
        self.description = f"{num_shards:,} WebDataset shard{'s' if num_shards > 1 else ''}"
        self._records = Records(config)

    @property
    def schema(self) -> pa.Schema:
        return self._records.schema

    def pieces(self) -> Iterator[Piece]:
        for shard in shards(self._found, self._files, self._config, _is_text):
            yield from shard.pieces(self._entries(shard))
            if shard.error is not None:
                yield Piece([shard.failed(shard.error)], shard.file.path)
        for file in self._refused:
            error = RecordingError("a compressed shard that is not .tar.gz", _way_out(file))
            shard = Shard(file, self._found.url_of(file), stem_of(self._found, file))
            yield Piece([shard.failed(error)], file.path)
        self._records.finish(self._url)

    def _entries(self, shard: Shard) -> Iterator[Entry]:
        members = [member for member in shard.members if not is_hidden(member.name)]
        names = Names([member.name for member in members])
        samples = names.samples()
        if members and not samples:
            kinds = sorted({member.name.rpartition(".")[2] for member in members})
            yield shard.failed(RecordingError("no audio in its shard", f"files ending in {' '.join(kinds[:10])}"))
        for first in range(0, len(samples), NUM_AGAIN):
            some = samples[first : first + NUM_AGAIN]
            texts = self._texts(shard, members, some)
            for sample in some:
                member = members[sample.audio]
                entry = shard.entry(member, None if names.is_only_one(sample.audio) else member.name)
                text = _text(members, sample, texts)
                self._records.describe(entry, text.record)
                entry.reference = text.reference if entry.reference is None else entry.reference
                yield entry
        for number in names.lost() if samples else ():
            lost = members[number]
            yield shard.failed(RecordingError("no audio beside its text", lost.name), lost.name)

    def _texts(self, shard: Shard, members: list[Member], samples: list[Sample]) -> dict[int, bytes]:
        """By the number of their member; those that are not to be had are left out."""
        wanted = [number for sample in samples for number in (sample.json, sample.txt) if number is not None]
        missing = [members[number] for number in wanted if members[number].start not in shard.texts]
        there = shard.texts | read_again(self._found, shard, missing, self._config) if missing else shard.texts
        return {number: there[members[number].start] for number in wanted if members[number].start in there}


def _text(members: list[Member], sample: Sample, texts: dict[int, bytes]) -> _Text:
    record: dict[str, Any] = {}
    reference: str | None = None
    errors = [f"{sample.shared} may be another recording's"] if sample.shared else []
    for number in (sample.json, sample.txt):
        if number is None:
            continue
        name = members[number].name
        if number not in texts:
            errors.append(f"{name}: too long, or too much text in one shard ({members[number].size:,} bytes)")
            continue
        try:
            if number == sample.json:
                record = _object(texts[number])
            else:
                reference = texts[number].decode("utf-8-sig").strip()
        except (ValueError, RecursionError, UsageError) as error:  # not JSON, not UTF-8, hundreds of digits or brackets
            errors.append(f"{name}: {error}")
    return _Text(record | ({TEXT_ERROR: "; ".join(errors)} if errors else {}), reference)


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode()  # half a character (a lone surrogate) can be written nowhere
    return {name: flat(field) for name, field in value.items()}


def _is_text(name: str) -> bool:
    return name.lower().endswith(TEXTS) and not is_hidden(name)


def _way_out(file: File) -> str:
    command = next(command for ending, command in REFUSED.items() if without_query(file.path).lower().endswith(ending))
    return f"only .tar and .tar.gz are read; unpack it with {command}, or pack it anew as .tar.gz"
