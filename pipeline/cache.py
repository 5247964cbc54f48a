"""Where a node keeps what takes time to make: compiled code, language models read from text or from afar.

Nothing there is needed again; whoever wants the room may delete it. Knows nothing of what is kept.
"""

import os
import tempfile
from pathlib import Path

from pipeline.errors import UsageError


def cache_folder() -> Path:
    """NIGHTSHIFT_CACHE, else the usual place of caches; where that cannot be written, a folder for temporary files."""
    if chosen := os.environ.get("NIGHTSHIFT_CACHE"):
        if not _can_be_used(Path(chosen)):
            raise UsageError(f"NIGHTSHIFT_CACHE = {chosen}: not a folder that can be written; name another")
        return Path(chosen)
    usual = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "nightshift"
    if usual.is_absolute() and _can_be_used(usual):  # a user without a home has no such place
        return usual
    ours = Path(tempfile.gettempdir()) / f"nightshift-{os.getuid()}"
    # What lies there is executed: it must not be somebody else's.
    if not _can_be_used(ours) or ours.stat().st_uid != os.getuid():
        raise UsageError(f"neither {usual} nor {ours} can be written: name a folder in NIGHTSHIFT_CACHE")
    return ours


def _can_be_used(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
