"""What `pipeline.read.guard` must survive: each of these is told by the recording's bytes how to misbehave."""

import ctypes
import itertools
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import RecordingError
from pipeline.read.blob import FIRST
from pipeline.read.guard import DONE, HEADER, Limits, Sound
from pipeline.records import Cut

KEEP: list[npt.NDArray[np.float64]] = []
PIPE = 3  # to the parent


ESCAPES: dict[str, Callable[[str], Any]] = {
    "close": lambda _: os.closerange(1, 3),  # makes room for other files
    "open": lambda path: os.open(path, os.O_RDONLY),
    "remove": os.unlink,
    "connect": lambda port: socket.create_connection(("127.0.0.1", int(port)), timeout=1.0),
    "fork": lambda _: os.fork() or os._exit(0),
    "execute": lambda path: os.execv(path, [path]),
    "signal": lambda pid: os.kill(int(pid), 0),
    "trace": lambda pid: checked(ctypes.CDLL(None, use_errno=True).ptrace(0x4206, int(pid), 0, 0)),  # PTRACE_SEIZE
    "raise": lambda pid: resource.prlimit(int(pid), resource.RLIMIT_CORE),
}


def checked(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text for you")


def num_channels(file: Any, limits: Limits) -> int:
    return len(file.read())


def decode(file: Any, limits: Limits, cut: Cut) -> Sound:
    order, _, detail = file.read(64).decode(errors="replace").partition(" ")
    if order == "segfault":
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
        os.write(2, b"and what it complains of")
    elif order == "reason":
        raise RecordingError("a reason", "a detail")
    elif order == "unicode":
        b"\xff".decode("ascii")
    elif order == "bug":
        raise NameError("name 'nothing' is not defined")
    elif order == "unprintable":
        raise Unprintable
    elif order == "surrogate":
        raise RuntimeError("a lone surrogate: \udc80")
    elif order == "nothing":
        return None  # type: ignore[return-value]
    elif order == "environment":
        told = "\n".join(f"{k}={v}" for k, v in os.environ.items()).encode("utf-32")
        return Sound(None, iter([np.frombuffer(told, np.float32)]))
    elif order in ESCAPES:
        ESCAPES[order](detail)
    elif order == "thread":
        thread = threading.Thread(target=KEEP.clear)
        thread.start()
        thread.join()
    elif order == "hangup":
        os.close(PIPE)
        time.sleep(60)
    elif order == "restless":
        for place in itertools.count():
            file.seek(place % 16 * FIRST)
            file.read(1)
    elif order == "garble":
        os.write(PIPE, detail.encode() + bytes(100))
    elif order == "promise":  # a header that claims much, and samples that come late or not at all
        return Sound(float(detail), iter([np.ones(16_000, np.int16)]))
    elif order == "flood":
        return Sound(None, (np.zeros(2**20, np.float32) for _ in iter(int, 1)))
    elif order == "halfway":
        return Sound(None, _halfway(detail))
    elif order == "failure":  # what should tell why it failed is no JSON
        os.write(PIPE, HEADER.pack(DONE, 9) + bytes(8) + b"{")
    return Sound(None, iter([np.array([os.getpid()], np.float32)]))


def _halfway(then: str) -> Iterator[npt.NDArray[np.float32]]:
    yield np.zeros(100_000, np.float32)
    if then == "kill":
        os.kill(os.getpid(), 9)
    if then == "loop":
        while True:
            pass
    raise RecordingError("half of a reason")


def read_twice(file: Any, limits: Limits, cut: Cut) -> Sound:
    """What it reads of the file, at places that the cut names: from the offset on, and then from the end back."""
    file.seek(int(cut.offset_s))
    first = file.read(int(cut.length_s or 0))
    file.seek(-int(cut.channel or 1), 2)
    position = file.tell()
    pieces = (np.frombuffer(piece, np.uint8).astype(np.float32) for piece in (first, file.read()))
    return Sound(float(position), pieces)
