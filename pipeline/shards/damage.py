"""What reading a damaged shard raises, and what of that is the shard's own fault.

Knows nothing of formats.
"""

import pyarrow as pa

from pipeline.errors import RecordingError, UsageError
from pipeline.storage_errors import DENIED, sentence, storage_reason

DAMAGES = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, RecordingError)  # of shards that lie


def damage_of(error: Exception, url: str, rows: str = "") -> RecordingError:
    """Why rows cannot be listed. What ails the store, and not this shard alone, is a `UsageError`: it can be mended."""
    if isinstance(error, RecordingError):
        cause = error.__cause__
        if cause is not None and error.reason != DENIED[0] and (known := sentence(cause, url)) is not None:
            raise UsageError(known) from error
        return error
    if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own, on damaged pages, have no number
        return storage_reason(error)
    return RecordingError("shard not readable", f"{rows}{' '.join(str(error).split())}")
