"""How inner loops are compiled: by numba, once per node and version of these sources, into the node's cache.

Left to itself, numba keeps what it compiled beside the source, which may not be writable, and for as long as the one
file of the outermost function stays the same, though its code is compiled from several. Knows nothing of what is
compiled.
"""

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numba

from pipeline.cache import cache_folder
from pipeline.errors import UsageError

HERE = Path(__file__)


def _folder() -> Path:
    """Of this version of everything that is compiled, and of this file, which says how."""
    content = hashlib.sha256()
    evaluated = [f"evaluation/{name}.py" for name in ("tokens", "levenshtein", "spans", "mapsswe")]
    places = ("lm/**/*.py", "decode/**/*.py", "models/vectors.py", "models/int8.py", "resampling.py", *evaluated)
    for path in [HERE, *sorted(path for place in places for path in HERE.parent.glob(place))]:
        content.update(path.read_bytes())
    folder = cache_folder() / "compiled" / content.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)  # else numba would go back to its own way
    return folder


FOLDER = _folder()
numba.config.CACHE_DIR = str(FOLDER)  # type: ignore[attr-defined]


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Of the processes of a node that would compile the same: the first does, the others wait and load."""
    with open(FOLDER / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when this process dies
        try:
            yield
        except OSError as error:
            raise UsageError(f"{FOLDER}: {error.strerror or error}; name another folder in NIGHTSHIFT_CACHE") from error


Function = TypeVar("Function", bound=Callable[..., Any])


class Decorator(Protocol):
    def __call__(self, function: Function) -> Function: ...


# What Python calls. It may make arrays.
entry: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[assignment]

# What compiled code calls. It becomes a part of its caller, because a call passes every array as seven numbers, and
# numba counts references to each: with both, the beam search took ten times as long. So it must not make arrays.
inner: Decorator = numba.njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)  # type: ignore[call-overload]
