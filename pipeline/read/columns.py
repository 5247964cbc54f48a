"""Which of an input's columns are the audio, the id, the reference and the duration; the others pass through.

Knows nothing of the formats that have columns.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import UsageError

ID_COLUMNS = ("id", "utt_id", "utterance_id", "key")
PATH_COLUMNS = ("audio_filepath", "audio", "path", "uri", "file", "wav")
REFERENCE_COLUMNS = ("reference", "text", "transcript", "transcription", "sentence")
DURATION_COLUMNS = ("duration", "duration_s")
MAX_DURATION_S = 1e9  # 31 years: what is longer is no duration


@dataclass(frozen=True)
class Columns:
    """Which of an input's columns mean what."""

    path: str
    id: str | None = None
    reference: str | None = None
    duration: str | None = None

    @classmethod
    def choose(cls, columns: dict[str, Any], config: ReadConfig, path: str | None = None) -> "Columns | None":
        def first(named: str | None, usual: tuple[str, ...]) -> str | None:
            return next((name for name in ((named,) if named else usual) if name in columns), None)

        path = path or first(None, PATH_COLUMNS)
        if path is None:
            return None
        return cls(
            path,
            id=first(config.id_column, ID_COLUMNS),
            reference=first(config.reference_column, REFERENCE_COLUMNS),
            duration=first(None, DURATION_COLUMNS),
        )

    def merged(self, other: "Columns | None") -> "Columns":
        """With what a later line has and the earlier ones lacked."""
        if other is None:
            return self
        return Columns(
            self.path, self.id or other.id, self.reference or other.reference, self.duration or other.duration
        )

    def used(self) -> list[str]:
        return [name for name in (self.path, self.id, self.reference, self.duration) if name is not None]

    def check(self, config: ReadConfig, where: str) -> None:
        for option, found in (("id_column", self.id), ("reference_column", self.reference)):
            wanted = getattr(config, option)
            if wanted is not None and found is None:
                raise UsageError(f"{where}: no column {wanted} (read.{option})")


def value_of(record: dict[str, Any], name: str | None) -> Any:
    return None if name is None else record.get(name)


def duration_of(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < MAX_DURATION_S else None


def text_of(value: Any) -> str | None:
    return None if value is None else str(value)
