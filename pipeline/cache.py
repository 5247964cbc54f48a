"""Where a node keeps what takes time to make: compiled code, language models read from text or from afar.

Nothing there is needed again; whoever wants the room may delete it. Knows nothing of what is kept.
"""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """NIGHTSHIFT_CACHE, else the usual place of caches; where that cannot be written, a folder for temporary files."""
    if chosen := os.environ.get("NIGHTSHIFT_CACHE"):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(caches) if caches else Path.home() / ".cache") / "nightshift"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir()) / f"nightshift-{os.getuid()}"
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir()) / f"nightshift-{os.getuid()}"
