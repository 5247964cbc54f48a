"""A unit's recordings to their bytes, ahead of need: each recording once, in any order.

Knows the kinds of places (files, members, rows), and nothing of audio.
"""

from collections import defaultdict
from collections.abc import Generator
from contextlib import closing

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import Blob
from pipeline.read.loads import Loads, ahead
from pipeline.read.loose import Wanted, load_files
from pipeline.read.members import load_members
from pipeline.read.rows import load_rows
from pipeline.records import Recording

Fetched = tuple[Recording, bytes | Blob | RecordingError]


def fetch(recordings: list[Recording], config: ReadConfig) -> Generator[Fetched, None, None]:
    """Each with its bytes, or a blob to read them from until the next is asked for, or why there are none.

    `UsageError` where a file is no longer what was listed.
    """
    with closing(ahead(load(recordings, config))) as loads:
        for one in loads:
            with closing(one):
                for recording in one.recordings:
                    yield recording, one.data


def load(recordings: list[Recording], config: ReadConfig) -> Loads:
    """The same without a thread, file by file."""
    loose: dict[str, list[Recording]] = defaultdict(list)
    rows: dict[str, list[Recording]] = defaultdict(list)
    members: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        kind = members if recording.span is not None else rows if recording.row is not None else loose
        kind[recording.uri].append(recording)
    yield from load_files([Wanted(uri, found, found[0].version) for uri, found in loose.items()], config)
    for uri, found in members.items():
        yield from load_members(uri, found, config)
    linked: list[Wanted] = []
    for uri, found in rows.items():
        yield from load_rows(uri, found, config, linked)
    yield from load_files(linked, config)
