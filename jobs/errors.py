"""What a command says of an exception, and its exit code: one clear line for what a user can mend, a trace for bugs."""

import errno
import sys
import traceback

from pipeline.errors import UsageError

GO_ON = "what is committed is kept, and the same command goes on"
OF_STORES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "adlfs")  # they raise kinds of their own
MENDABLE_FIRST = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENOENT)


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and what to print on stderr."""
    if isinstance(error, UsageError):
        return 2, f"nightshift: {error}"
    if type(error).__module__.partition(".")[0] in OF_STORES:
        return 2, f"nightshift: object storage: {_one_line(error)}"
    if isinstance(error, OSError):
        code = 2 if error.errno in MENDABLE_FIRST else 1
        place = f"{error.filename}: " if error.filename else ""
        return code, f"nightshift: {place}{error.strerror or _one_line(error)}" + ("" if code == 2 else f"; {GO_ON}")
    if (stage_error := _stage_error(error)) is not None:
        message, trace = stage_error
        return 1, f"{trace}nightshift: {message}; {GO_ON}"
    return 1, "".join(traceback.format_exception(error))


def _stage_error(error: Exception) -> tuple[str, str] | None:
    """Its message and trace, without importing what raises it."""
    carry = sys.modules.get("pipeline.carry")
    return (error.message, error.trace) if carry is not None and isinstance(error, carry.StageError) else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
