"""The kinds of fault: a command that cannot be carried out, a recording that fails, and a stage that should not have.

Knows nothing of exit codes or rows: `jobs` turns the first into exit code 2, the stages turn the second into a row, and
the third, like every other exception, stops the run.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(Exception):
    """What the user asked for cannot be done; the message names the thing at fault and what to do."""


class RecordingError(Exception):
    """One recording cannot be transcribed; `reason` is short and stable, because summaries count by it."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = detail


class StageError(Exception):
    """A stage raised what it should not have: a bug, or a disk that is full. The run stops and can be resumed."""

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message, trace)
        self.message = message
        self.trace = trace  # where it happened, in the worker; empty where the system's own words say enough


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Inside, a `UsageError` says whose it is: of several inputs, models or sections that might be at fault."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
