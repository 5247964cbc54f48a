"""The compiled beam search made ready: compiled once per node, then loaded from a cache on disk.

Knows nothing of what is compiled; imports numba only when called.
"""

import os
import sys
import tempfile
from pathlib import Path

CACHE = "NUMBA_CACHE_DIR"  # numba reads it when it is imported


def warm_up() -> float:
    """Compile, or load what an earlier process has compiled; returns the seconds that took."""
    prepare_cache()
    from pipeline.decode import beam

    compile_all = getattr(beam, "warm_up", lambda: 0.0)
    return float(compile_all())


def prepare_cache() -> None:
    """Before numba is imported, name a place for what it compiles where it could not write beside the source."""
    if CACHE in os.environ or "numba" in sys.modules or os.access(Path(__file__).parent, os.W_OK):
        return
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("NIGHTSHIFT_CACHE") or Path(caches) / "nightshift") / "numba"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:
        writable = False
    os.environ[CACHE] = str(cache if writable else Path(tempfile.gettempdir()) / f"nightshift-numba-{os.getuid()}")
