"""Numbers at addresses, for compiled code: arrays would cost more than the look-ups they are for.

numba counts references to every array at every call, atomically: 230 ns a look-up with arrays, 55 ns with addresses.
Whoever holds an address must hold what it points into. Knows nothing of what is stored there.
"""

import ctypes
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.extending import intrinsic

Load = Callable[[np.uint64], Any]


def _load(number: type[np.generic], plain: Any, result: Any, kind: ir.Type) -> Load:
    """Reads a little-endian number at an address, which need not be aligned."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return lambda address: number(plain.from_address(int(address)).value)

    @intrinsic
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))
            value.align = 1
            return value

        return result(types.uint64), generate

    return cast(Load, load)


uint32 = _load(np.uint32, ctypes.c_uint32, types.uint32, ir.IntType(32))
uint64 = _load(np.uint64, ctypes.c_uint64, types.uint64, ir.IntType(64))
float32 = _load(np.float32, ctypes.c_float, types.float32, ir.FloatType())
