"""Memory that a process gives back is soon asked for again, page by page: one that learns had better keep it.

Knows nothing of what is kept there.
"""

import contextlib
import ctypes

# Of glibc, by the numbers in its malloc.h: from how many bytes on memory is borrowed for one use, at how many free ones
# some is given back, and how many more are asked for than needed.
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2
KEPT = ((_MMAP_THRESHOLD, 1 << 25), (_TRIM_THRESHOLD, (1 << 31) - 1), (_TOP_PAD, 1 << 26))


def keep() -> bool:
    """From now on, in the whole process; a step is a tenth faster so. False: this is not glibc, and nothing changes."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(mallopt(what, num_bytes) for what, num_bytes in KEPT)
    return False
