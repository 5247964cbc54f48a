"""The two kinds of fault that are not ours: a command that cannot be carried out, and a recording that fails.

Knows nothing of exit codes or rows: `jobs` turns the first into exit code 2, the stages turn the second into a row.
Every other exception is a fault of ours and stops the run.
"""


class UsageError(Exception):
    """What the user asked for cannot be done; the message names the thing at fault and what to do."""


class RecordingError(Exception):
    """One recording cannot be transcribed; `reason` is short and stable, because summaries count by it."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = detail
