"""The recordings of an input, listed once: counted, timed and kept on disk until they are cut into units.

Knows nothing of what the input is. The file has no name, so that nothing is left of it however the run ends.
"""

import errno
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType

import numpy as np
import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.manifest import Doubled, Manifest, cut, unit_seconds
from pipeline.progress import hours
from pipeline.sources.channels import expand
from pipeline.sources.entries import Entry, Piece, Source
from pipeline.sources.found import Tell

PIECES_AT_ONCE = 1_000  # in memory, and between two words of progress
DOUBLED_TOLD = 5


def limited(pieces: Iterable[Piece], limit: int | None) -> Iterator[Piece]:
    """Only the first so many recordings; nothing is listed beyond them."""
    left = limit
    for piece in pieces:
        if left is None:
            yield piece
            continue
        yield Piece(piece.entries[:left], piece.shard)
        left -= len(piece.entries)
        if left <= 0:
            return


def asked_for(source: Source, config: ReadConfig) -> Iterator[Piece]:
    """What a source lists, as far as `read.limit` says and with the recordings that `read.channels` makes of it."""
    # Limited before channels are told apart, too: for that files are looked into.
    return limited(expand(limited(source.pieces(), config.limit), config), config.limit)


class Spool:
    """A source's recordings in the order in which it lists them, with ids made unique."""

    def __init__(self, source: Source, config: ReadConfig, tell: Tell = lambda text: None) -> None:
        """List them all, or as many as are asked for."""
        self.num_recordings = 0
        self.seconds = 0.0
        self.seconds_known = True
        self._source, self._config = source, config
        self._ids = _Ids()
        self._lengths: list[tuple[int, int]] = []  # of each lot of pieces in the file, packed and unpacked
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by this object's own context
        try:
            self._fill(tell)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def units(self) -> Iterator[list[Entry]]:
        """Of read.unit_s each, or of a length that the whole suggests."""
        return cut(self._pieces(_Naming(self._ids)), self._config.unit_s or unit_seconds(self.seconds))

    def freeze(self, manifest: Manifest) -> Doubled:
        """Write the manifest; tells whose ids were doubled."""
        naming = _Naming(self._ids)
        units = cut(self._pieces(naming), self._config.unit_s or unit_seconds(self.seconds))
        manifest.write(units, self._source.schema)
        return Doubled(naming.num_doubled, naming.doubled)

    def _fill(self, tell: Tell) -> None:
        pieces = asked_for(self._source, self._config)
        while some := list(islice(pieces, PIECES_AT_ONCE)):
            for entry in (entry for piece in some for entry in piece.entries):
                self._ids.see(entry.id)
                self.num_recordings += 1
                self.seconds += entry.seconds
                self.seconds_known = self.seconds_known and entry.duration_s is not None
            self._put(some)
            about = "" if self.seconds_known else "about "
            tell(f"listing the input: {self.num_recordings:,} recordings, {about}{hours(self.seconds)}")
        self._ids.all_seen()

    def _put(self, pieces: list[Piece]) -> None:
        pickled = pickle.dumps(pieces, protocol=pickle.HIGHEST_PROTOCOL)
        packed = pa.compress(pickled, codec="zstd", asbytes=True)  # to a tenth
        try:
            self._file.write(packed)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise UsageError(f"{tempfile.gettempdir()} is full: set TMPDIR to a folder with more space") from error
        self._lengths.append((len(packed), len(pickled)))

    def _pieces(self, naming: "_Naming") -> Iterator[Piece]:
        self._file.seek(0)
        for packed, unpacked in self._lengths:
            pickled = pa.decompress(self._file.read(packed), unpacked, codec="zstd")
            for piece in pickle.loads(pickled):
                for entry in piece.entries:
                    entry.id = naming.unique(entry.id)
                yield piece


class Listing:
    """Recordings with audio, as the input of a run. Listed once, when they are first asked for."""

    def __init__(self, source: Source, config: ReadConfig, tell: Tell) -> None:
        self._source, self._config, self._tell = source, config, tell
        self._spool: Spool | None = None

    @property
    def description(self) -> str:
        return self._source.description

    def spool(self) -> Spool:
        self._spool = self._spool or Spool(self._source, self._config, self._tell)
        return self._spool

    def check(self) -> None:
        self.spool()

    def freeze(self, manifest: Manifest) -> Doubled:
        return self.spool().freeze(manifest)

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()


class _Ids:
    """The ids of an input at eight bytes each: hashes tell which ones may be doubled."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._sorted = np.empty(0, np.int64)
        self._repeated: set[int] = set()

    def see(self, name: str) -> None:
        self._hashes.append(hash(name))

    def all_seen(self) -> None:
        self._sorted = np.sort(np.frombuffer(self._hashes, np.int64))
        self._repeated = set(self._sorted[1:][self._sorted[1:] == self._sorted[:-1]].tolist())
        self._hashes = array("q")

    def is_repeated(self, name: str) -> bool:
        """Whether it may be there twice; that it is not is certain."""
        return hash(name) in self._repeated

    def is_there(self, name: str) -> bool:
        """Likewise, whether it may be there at all."""
        place = np.searchsorted(self._sorted, hash(name))
        return bool(place < len(self._sorted) and self._sorted[place] == hash(name))


class _Naming:
    """Ids made unique, in order: the second `a` becomes `a#2`, or what else is not there."""

    def __init__(self, ids: _Ids) -> None:
        self._ids = ids
        self._last: dict[str, int] = {}  # of those that may be doubled: the number that was given last
        self.num_doubled = 0
        self.doubled: list[str] = []

    def unique(self, name: str) -> str:
        if not self._ids.is_repeated(name):
            return name
        number = self._last.get(name, 0) + 1
        made = name if number == 1 else f"{name}#{number}"
        while number > 1 and self._ids.is_there(made):
            number += 1
            made = f"{name}#{number}"
        self._last[name] = number
        if number > 1:
            self.num_doubled += 1
            if len(self.doubled) < DOUBLED_TOLD and name not in self.doubled:
                self.doubled.append(name)
        return made
