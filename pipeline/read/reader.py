"""The read stage: a unit's recordings, fetched, become 16 kHz mono.

Knows nothing of what an input looks like (`sources`), of where bytes lie (`fetch`) or of audio formats (`audio`, behind
`guard`).
"""

from collections.abc import Callable

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, StageError
from pipeline.read.blob import Blob
from pipeline.read.fetch import fetch
from pipeline.read.guard import Guard, Limits
from pipeline.read.ranged import UnreadableError
from pipeline.read.snr import snr_estimate_db
from pipeline.records import SAMPLE_RATE, Recording
from pipeline.storage_errors import OF_THE_STORE
from pipeline.unit import Unit

SHORT_S = 0.15  # by which audio may fall short of what was declared: encoders pad; MP3 of 8 kHz in Matroska, 0.14 s
ROUNDED_SHARE, ROUNDED_S = 0.01, 1.0  # of what a table declares, and at most so much: tables round

_guards: dict[Limits, Guard] = {}  # one child per process: Ray builds a stage anew for every task


class Reader:
    """A unit's id -> its recordings with audio, or failed with the reason."""

    def __init__(self, config: ReadConfig, load: Callable[[Unit], Unit]) -> None:
        self._config = config
        self._load = load  # fills in a unit's recordings, from the manifest of a run for instance
        self._guard = guard_of(config)

    def __call__(self, unit: Unit) -> Unit:
        unit = self._load(unit)
        cpu_before = self._guard.cpu_s
        for recording, data in fetch(unit.pending(), self._config):
            try:
                self._read(recording, data)
            except RecordingError as error:
                _fail(recording, error)
            except UnreadableError as error:
                _fail(recording, error.reason)
        unit.stage_cpu_s["read"] = self._guard.cpu_s - cpu_before
        return unit

    def _read(self, recording: Recording, data: bytes | Blob | RecordingError) -> None:
        if isinstance(data, RecordingError):
            raise data
        if recording.cut.channel is None and isinstance(self._config.channels, int):
            recording.cut = recording.cut._replace(channel=self._config.channels)
        decoded = self._guard.decode(data, recording.cut)
        recording.audio = decoded.audio
        recording.duration_s = len(decoded.audio) / SAMPLE_RATE
        recording.truncated = _truncated(recording, decoded.declared_s)
        recording.snr_estimate_db = snr_estimate_db(decoded.audio)


def _fail(recording: Recording, error: RecordingError) -> None:
    """Where the store is to blame the run stops instead, to be gone on with: else every recording left would fail.

    A manifest may name many web servers, of which one that is away is no reason to stop.
    """
    if error.reason in OF_THE_STORE and not recording.uri.startswith(("http://", "https://")):
        raise StageError(f"{recording.uri}: {error.reason}: {error.detail}")
    recording.fail("read", error)


def guard_of(config: ReadConfig) -> Guard:
    """This process's guard of these limits."""
    limits = Limits.of(config)
    if limits not in _guards:
        _guards[limits] = Guard(limits)
    return _guards[limits]


def _truncated(recording: Recording, by_header_s: float | None) -> bool | None:
    """Whether it ends before what was said of it; None where nothing was."""
    by_table_s = recording.declared_s
    least_s = [said_s - SHORT_S for said_s in (by_header_s, recording.cut.length_s) if said_s is not None]
    if by_table_s is not None:
        least_s.append(by_table_s - min(SHORT_S + ROUNDED_SHARE * by_table_s, ROUNDED_S))
    assert recording.duration_s is not None
    return recording.duration_s < max(least_s) if least_s else None
