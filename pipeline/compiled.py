"""How inner loops are compiled: by numba, once per node and version of these sources, into the node's cache.

Left to itself, numba keeps what it compiled beside the source, which may not be writable, and for as long as the one
file of the outermost function stays the same, though its code is compiled from several. Knows nothing of what is
compiled.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numba

from pipeline.cache import cache_folder

SOURCES = Path(__file__).parent


def _sources_hash() -> str:
    content = hashlib.sha256()
    for path in sorted([*SOURCES.glob("lm/**/*.py"), *SOURCES.glob("decode/*.py")]):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


numba.config.CACHE_DIR = str(cache_folder() / "compiled" / _sources_hash())  # type: ignore[attr-defined]

Function = TypeVar("Function", bound=Callable[..., Any])


class Decorator(Protocol):
    def __call__(self, function: Function) -> Function: ...


# What Python calls. It may make arrays.
entry: Decorator = numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[assignment]

# What compiled code calls. It becomes a part of its caller, because a call passes every array as seven numbers, and
# numba counts references to each: with both, the beam search took ten times as long. So it must not make arrays.
inner: Decorator = numba.njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)  # type: ignore[call-overload]
