"""What `pipeline.read.guard` must survive: each of these is told by the recording's bytes how to misbehave."""

import os
import sys
import time

import numpy as np
import numpy.typing as npt

from pipeline.errors import RecordingError

KEEP: list[npt.NDArray[np.float64]] = []


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text for you")


def decode(data: bytes, max_duration_s: float) -> npt.NDArray[np.float32]:
    order = data.decode(errors="replace")
    if order == "segfault":
        import ctypes

        ctypes.string_at(0)
    elif order == "abort":
        os.abort()
    elif order == "exit":
        sys.exit(3)
    elif order == "loop":
        while True:
            pass
    elif order == "hog":
        while True:
            KEEP.append(np.zeros(2**20))
    elif order == "claim":
        np.zeros(2**45)
    elif order == "wait":
        time.sleep(0.5)
    elif order == "work":
        np.zeros(2**25)  # a quarter of the memory: an honest recording's share
    elif order == "print":
        print("a line on stdout", flush=True)
        os.write(1, b"another one, as a C library would")
    elif order == "reason":
        raise RecordingError("a reason", "a detail")
    elif order == "unicode":
        b"\xff".decode("ascii")
    elif order == "unprintable":
        raise Unprintable
    elif order == "surrogate":
        raise RuntimeError("a lone surrogate: \udc80")
    elif order == "nothing":
        return None  # type: ignore[return-value]
    elif order == "environment":
        return np.frombuffer("\n".join(f"{k}={v}" for k, v in os.environ.items()).encode("utf-32"), np.float32)
    return np.array([os.getpid()], np.float32)
