"""Audio decoding in a child process: a crash, a memory bomb or an endless loop costs one recording, not the worker.

Knows nothing of what is decoded: bytes go down a pipe, samples or a reason come back. The child has a memory limit,
a deadline, and an environment without the credentials of its parent.
"""

import contextlib
import json
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.errors import RecordingError
from pipeline.records import AudioArray

_HEADER = struct.Struct("<cdQ")  # the type of the samples, as numpy calls it; CPU seconds it took; bytes that follow
_REASON = b"!"  # in place of a type: what follows says why it did not work
_REQUEST = struct.Struct("<dQ")  # the duration limit; bytes that follow
_SAFE_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")
TOO_MUCH_MEMORY = "needs too much memory (read.max_memory_gb)"
ORPHAN_S = 1.0  # how long past its deadline a child lives that nobody killed

Decode = Callable[[bytes, float], AudioArray]


class Guard:
    """One child process, started at the first recording and again after one that killed it."""

    def __init__(self, max_memory_gb: float, timeout_s: float, decode: str = "pipeline.read.audio:decode") -> None:
        self._max_memory_gb, self._timeout_s, self._decode = max_memory_gb, timeout_s, decode
        self._child: subprocess.Popen[bytes] | None = None
        self.cpu_s = 0.0  # spent by the children on what they answered

    def start(self) -> subprocess.Popen[bytes]:
        """The child, running."""
        if self._child is None or self._child.poll() is not None:
            environment = {name: os.environ[name] for name in _SAFE_ENVIRONMENT if name in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
            environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve address space under the limit
            limits = [str(self._max_memory_gb), str(self._timeout_s)]
            self._child = subprocess.Popen(
                [sys.executable, "-m", "pipeline.read.guard", *limits, self._decode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the driver; the child ends when its pipe closes
            )
        return self._child

    def decode(self, data: bytes, max_duration_s: float) -> AudioArray:
        child = self.start()
        assert child.stdin is not None and child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it died while reading; what killed it is told below
                child.stdin.write(_REQUEST.pack(max_duration_s, len(data)))
                child.stdin.write(data)
                child.stdin.flush()
            kind, cpu_s, answer = _answer(child.stdout, time.monotonic() + self._timeout_s)
            self.cpu_s += cpu_s
        except TimeoutError:
            self.stop()
            raise RecordingError(f"decoding took over {self._timeout_s:g} s (read.decode_timeout_s)") from None
        except EOFError:
            raise RecordingError("crashed the audio decoder", self._cause_of_death()) from None
        if kind == _REASON:
            reason, detail = json.loads(answer)
            if reason == TOO_MUCH_MEMORY:
                self.stop()  # what its decoder still holds would fail the next recording too
            raise RecordingError(reason, detail)
        return np.frombuffer(answer, kind.decode())

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _cause_of_death(self) -> str:
        assert self._child is not None
        code = self._child.wait()
        self._child = None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _answer(pipe: IO[bytes], deadline: float) -> tuple[bytes, float, bytearray]:
    kind, cpu_s, length = _HEADER.unpack(_read(pipe, _HEADER.size, deadline))
    return kind, cpu_s, _read(pipe, length, deadline)


def _read(pipe: IO[bytes], length: int, deadline: float) -> bytearray:
    """Exactly so many bytes, or EOFError, or TimeoutError."""
    data = bytearray(length)
    view, filled = memoryview(data), 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while filled < length:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            count = os.readv(pipe.fileno(), [view[filled:]])
            if not count:
                raise EOFError
            filled += count
    return data


def _serve(max_memory_gb: float, timeout_s: float, decode: Decode) -> None:
    """The child: requests from stdin, answers to stdout, until the pipe closes."""
    limit = int(max_memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a parent that is gone wants no answer, and no traceback
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not reach the answers
    while len(header := requests.read(_REQUEST.size)) == _REQUEST.size:
        max_duration_s, length = _REQUEST.unpack(header)
        data = requests.read(length)
        before = time.process_time()
        # The parent kills a child that is late; this is for the child whose parent died while it decoded.
        signal.setitimer(signal.ITIMER_REAL, timeout_s + ORPHAN_S)
        kind, answer = _attempt(decode, data, max_duration_s)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(_HEADER.pack(kind, time.process_time() - before, len(answer)))
        answers.write(answer)
        answers.flush()


def _attempt(decode: Decode, data: bytes, max_duration_s: float) -> tuple[bytes, bytes | memoryview]:
    try:
        audio = decode(data, max_duration_s)
        return audio.dtype.char.encode(), audio.data.cast("B")
    except RecordingError as error:
        reason, detail = error.reason, error.detail
    except MemoryError:
        reason, detail = TOO_MUCH_MEMORY, None
    except Exception as error:  # decoders raise anything on damaged input: UnicodeDecodeError, RuntimeError, ...
        reason, detail = "damaged audio", f"{type(error).__name__}: {error}"
    return _REASON, json.dumps([reason, detail]).encode()


if __name__ == "__main__":
    import importlib

    _module, _, _name = sys.argv[3].partition(":")
    _serve(float(sys.argv[1]), float(sys.argv[2]), getattr(importlib.import_module(_module), _name))
