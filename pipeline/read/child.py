"""The process that decodes: what it may not do, and its end of the pipes to `guard`.

Knows nothing of audio, nor of where bytes come from.
"""

import ctypes
import gc
import importlib
import io
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from pipeline.errors import RecordingError
from pipeline.read import sandbox
from pipeline.read.blob import Ranges
from pipeline.read.guard import ASK, DONE, FOUND, HEADER, NUMBER, POSITION, READY, TOO_MUCH_MEMORY, Limits, Sound
from pipeline.records import Cut

BUFFER = 2**16  # bytes: libsndfile reads an MP3 by the frame, and its reads should not be steps of Python
ORPHAN_S = 1.0  # how long past its deadline a child lives that nobody killed
NO_NEW_PRIVILEGES = 38  # of prctl(2)


def serve() -> None:
    """Requests from stdin, answers to stdout, until the pipe closes."""
    limits = Limits(**json.loads(sys.argv[1]))
    module, _, name = sys.argv[2].partition(":")
    decoder = importlib.import_module(module)  # and all that it needs: after this no file can be opened
    tasks = {
        "decode": getattr(decoder, name),
        "num_channels": lambda file, limits, _: Sound(decoder.num_channels(file, limits), iter(())),
    }
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):  # what a library prints must not reach the answers, and nobody reads it
        os.dup2(nowhere, standard)
    gc.freeze()
    _give_up_rights(limits, nowhere)
    conversation = _Conversation(requests, answers, limits)
    conversation.tell(READY, b"")
    while line := requests.readline():
        conversation.answer(tasks, line)


def _give_up_rights(limits: Limits, last_file: int) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a parent that is gone wants no answer, and no traceback
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    memory = int(limits.max_memory_gb * 2**30)
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, last_file + 1),  # no other file, no socket, unless it closes one that it has
    ):
        resource.setrlimit(what, (most, most))
    sandbox.close()


class _Conversation:
    def __init__(self, requests: IO[bytes], answers: IO[bytes], limits: Limits) -> None:
        self._requests, self._answers, self._limits = requests, answers, limits
        self._file: Any = None  # the last, which cuts of it share

    def tell(self, kind: bytes, content: Any) -> None:
        """Bytes, or an array of samples."""
        view = memoryview(content).cast("B")
        self._answers.write(HEADER.pack(kind, len(view)))
        self._answers.write(view)
        self._answers.flush()

    def answer(self, tasks: dict[str, Any], line: bytes) -> None:
        task, at_once, again, size, *cut = json.loads(line)
        try:
            if at_once:
                self._file = io.BytesIO(self._requests.read(size))
            elif not again:
                self._file = io.BufferedReader(Ranges(size, self._ask), BUFFER)
        except MemoryError:
            self._done(0.0, (TOO_MUCH_MEMORY, None))
            os._exit(0)  # the rest of them is still in the pipe
        self._file.seek(0)
        before = time.process_time()
        with _alarm(self._limits.timeout_s + ORPHAN_S):
            failure = self._attempt(tasks[task], Cut(*cut))
        gc.collect()  # what PyAV opens knows itself, and would keep its bytes until somebody looks
        self._done(time.process_time() - before, failure)

    def _done(self, cpu_s: float, failure: tuple[str, str | None] | None) -> None:
        self.tell(DONE, NUMBER.pack(cpu_s) + json.dumps(failure).encode())

    def _attempt(self, task: Any, cut: Cut) -> tuple[str, str | None] | None:
        """Samples as they come; why it did not work, if so."""
        try:
            found, blocks = task(self._file, self._limits, cut)
            self.tell(FOUND, NUMBER.pack(math.nan if found is None else found))
            for block in blocks:
                self.tell(block.dtype.char.encode(), block)
            return None
        except RecordingError as error:
            return error.reason, error.detail
        except MemoryError:
            return TOO_MUCH_MEMORY, None
        except (NameError, ImportError, AttributeError) as error:  # what damage does not cause
            return "fault of the decoder's own", f"{type(error).__name__}: {error}"
        except Exception as error:  # decoders raise anything on damaged input: UnicodeDecodeError, RuntimeError, ...
            return "damaged audio", f"{type(error).__name__}: {error}"

    def _ask(self, position: int) -> bytes:
        """Some bytes from there on."""
        with _alarm(0):  # a store has deadlines of its own; a parent that is gone closes the pipe
            self.tell(ASK, POSITION.pack(position))
            header = self._requests.read(HEADER.size)
            if len(header) < HEADER.size:
                os._exit(0)
            return self._requests.read(HEADER.unpack(header)[1])


@contextmanager
def _alarm(after_s: float) -> Iterator[None]:
    """A killing one: the parent kills a child that is late, this is for the child whose parent died meanwhile."""
    rest, _ = signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
