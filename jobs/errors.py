"""What a command says of an exception, and its exit code: one clear line for what a user can mend, a trace for bugs."""

import errno
import traceback

from pipeline.errors import StageError, UsageError
from pipeline.patience import code_of
from pipeline.storage_errors import StorageError, sentence, told, without_secrets

GO_ON = "what is committed is kept, and the same command goes on"
OF_STORES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "adlfs", "huggingface_hub")  # they have kinds of their own
MENDABLE_FIRST = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOENT)


def explain(error: Exception) -> tuple[int, str]:
    """The exit code and what to print on stderr."""
    if isinstance(error, UsageError):
        return 2, f"nightshift: {error}"
    if isinstance(error, StorageError):
        return 1, f"nightshift: {error}; {GO_ON}"
    if type(error).__module__.partition(".")[0] in OF_STORES or code_of(error) is not None:
        return 2, f"nightshift: {sentence(error, 'object storage') or f'object storage: {told(error)}'}"
    if isinstance(error, OSError):
        code = 2 if error.errno in MENDABLE_FIRST else 1
        place = f"{error.filename}: " if error.filename else ""
        return code, f"nightshift: {place}{error.strerror or _one_line(error)}" + ("" if code == 2 else f"; {GO_ON}")
    if isinstance(error, StageError):
        return 1, f"{error.trace}nightshift: {error.message}; {GO_ON}"
    return 1, without_secrets("".join(traceback.format_exception(error)))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
