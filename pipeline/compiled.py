"""How inner loops are compiled: by numba, once per node and version of these sources, into the node's cache.

numba alone would keep what it compiled as long as the one file of the outermost function stays the same, and beside
that file, which may not be writable. Knows nothing of what is compiled.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

SOURCES = Path(__file__).parent


def cache_folder() -> Path:
    """Where a node keeps what takes time to make: compiled code, language models read from text or from afar."""
    return Path(os.environ.get("NIGHTSHIFT_CACHE") or Path.home() / ".cache" / "nightshift")


def _sources_hash() -> str:
    content = hashlib.sha256()
    for path in sorted(SOURCES.glob("*/*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


numba.config.CACHE_DIR = str(cache_folder() / "compiled" / _sources_hash())

# What is called from Python. Arrays may be made in it.
entry: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")

# What is called from compiled code alone. It is compiled as a part of what calls it: from a cache of its own it could
# not be inlined, which made the search 2.5 times slower. Without reference counts, which made it 5 times slower, so
# it must not make arrays, nor keep those it is given.
inner: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)
