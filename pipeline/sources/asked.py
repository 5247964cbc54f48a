"""The columns that a user names for ids and references, in sources whose formats say themselves what these are.

Knows nothing of the formats.
"""

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.sources.columns import text_of
from pipeline.sources.entries import Entry


class Asked:
    """`read.id_column` and `read.reference_column`: honoured where an entry has such a column, refused where none has.

    `own_id` and `own_reference` are what the format calls its own, which may be named, too.
    """

    def __init__(self, config: ReadConfig, own_id: str, own_reference: str) -> None:
        self._id = None if config.id_column == own_id else config.id_column
        self._reference = None if config.reference_column == own_reference else config.reference_column
        self._missing = {"id_column": self._id, "reference_column": self._reference}

    def apply(self, entry: Entry) -> None:
        """The columns that are asked for pass through no more."""
        if self._id is not None and self._id in entry.columns:
            entry.id = text_of(entry.columns[self._id]) or entry.id
            self._missing.pop("id_column", None)
        if self._reference is not None and self._reference in entry.columns:
            entry.reference = text_of(entry.columns[self._reference])
            self._missing.pop("reference_column", None)
        if self._id is not None or self._reference is not None:
            used = (self._id, self._reference)
            entry.columns = {name: value for name, value in entry.columns.items() if name not in used}

    def check(self, where: str) -> None:
        """After the last entry."""
        for option, name in self._missing.items():
            if name is not None:
                raise UsageError(f"{where}: no column {name} (read.{option})")
