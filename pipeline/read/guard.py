"""Audio decoding in a child process: a crash, a memory bomb or an endless loop costs one recording, not the worker.

Knows nothing of what is decoded: bytes go down a pipe, at once or in the ranges that are asked for, and samples or a
reason come back. What the child may do, `child` knows.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import Ahead, Blob
from pipeline.read.pipes import Pipes
from pipeline.records import SAMPLE_RATE, WHOLE, AudioArray, Cut

# Down: a request (a line of JSON), then the bytes if they are sent at once, then the ranges that were asked for. Up:
# once that it is ready, then for each request what was found, blocks of samples and, last, why it failed if it did;
# ranges are asked for in between. Each but the request is a kind and how many bytes follow, and these.
HEADER = struct.Struct("<cQ")
POSITION = struct.Struct("<Q")
NUMBER = struct.Struct("<d")
READY, FOUND, ASK, DONE = b"r", b"=", b"?", b"."  # other kinds are blocks: the type of the samples, as numpy calls it
TOO_MUCH_MEMORY = "needs too much memory (read.max_memory_gb)"
OVER_AND_OVER = "makes its decoder read it over and over"
CRASHED = "crashed the audio decoder"
NONSENSE = "its answer makes no sense"
START_S = 60.0  # for imports, on a machine that is busy
NUM_STARTS = 5  # somebody may kill a child that starts; one that never starts is a fault of ours
END_S = 1.0  # for a child whose pipe closed to be gone; one that was killed may have gigabytes to give back
MOST_READS, SPARE_READS = 20, 2**26  # times its size, and bytes, that one recording may ask for: by far more is a loop
MAX_WORDS = 2**20  # bytes of an answer that is not samples

_SAMPLES: dict[bytes, np.dtype[Any]] = {b"h": np.dtype(np.int16), b"f": np.dtype(np.float32)}
_SAFE_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")


@dataclass(frozen=True)
class Limits:
    """What a recording may cost; of `ReadConfig`, where each is explained."""

    max_duration_s: float
    max_rate_hz: int
    max_channels: int
    max_memory_gb: float
    timeout_s: float

    @classmethod
    def of(cls, config: ReadConfig) -> "Limits":
        return cls(
            config.max_duration_s,
            config.max_rate_hz,
            config.max_channels,
            config.max_memory_gb,
            config.decode_timeout_s,
        )


class Sound(NamedTuple):
    """What a decoder makes of a cut, as it goes."""

    declared_s: float | None
    blocks: Iterator[AudioArray]


class Decoded(NamedTuple):
    audio: AudioArray  # (num_samples,) 16 kHz mono
    declared_s: float | None  # how much of it there is by its header; None: the header does not tell


class Guard:
    """One child process, started at the first recording and again after one that killed it."""

    def __init__(self, limits: Limits, decode: str = "pipeline.read.audio:decode") -> None:
        self._limits, self._decode = limits, decode  # its module also has `num_channels`
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._last: weakref.ref[Blob] | None = None  # what the child still has open
        self.cpu_s = 0.0  # spent by the children on what they answered

    def decode(self, data: bytes | Blob, cut: Cut = WHOLE) -> Decoded:
        """`RecordingError` where it is not audio, breaks a limit or the decoder; what `Blob.read_at` raises, too."""
        declared_s, audio = self._request("decode", data, cut)
        return Decoded(audio, declared_s)

    def num_channels(self, data: bytes | Blob) -> int:
        return int(self._request("num_channels", data, WHOLE)[0] or 0)

    def start(self) -> "subprocess.Popen[bytes]":
        """The child, running, or soon."""
        if self._child is None or _how_it_ended(self._child) is not None:
            self.stop()
            environment = {name: os.environ[name] for name in _SAFE_ENVIRONMENT if name in os.environ}
            paths = [str(Path(__file__).parents[2]), *filter(os.path.isabs, sys.path)]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
            environment["PYTHONSAFEPATH"] = "1"  # else what lies in the working directory comes before the libraries
            environment["OPENBLAS_NUM_THREADS"] = "1"  # each thread would reserve address space under the limit
            limits = json.dumps(dataclasses.asdict(self._limits))
            self._child = subprocess.Popen(
                [sys.executable, "-c", "from pipeline.read.child import serve; serve()", limits, self._decode],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the driver; the child ends when its pipe closes
            )
            self._ready, self._last = False, None
        return self._child

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        if child.returncode is None:  # until somebody waited for it, the group of its number is its own
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        child.stdin.close()
        child.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the system is at it
            child.wait(END_S)

    def _request(self, task: str, data: bytes | Blob, cut: Cut) -> tuple[float | None, AudioArray]:
        try:
            return self._attempt(task, data, cut)
        except RecordingError as error:
            if (error.reason, error.detail) != (CRASHED, signal.SIGKILL.name):
                raise
        return self._attempt(task, data, cut)  # no decoder sends itself SIGKILL: something outside ran out of memory

    def _attempt(self, task: str, data: bytes | Blob, cut: Cut) -> tuple[float | None, AudioArray]:
        pipes = self._started()
        pipes.deadline = time.monotonic() + self._limits.timeout_s
        ahead = None if isinstance(data, bytes) else Ahead(data)
        size = len(data) if isinstance(data, bytes) else data.size
        again = self._last is not None and self._last() is data
        self._last = None
        try:
            pipes.write(json.dumps([task, ahead is None, again, size, *cut]).encode() + b"\n")
            if isinstance(data, bytes):
                pipes.write(data)
            answer = self._answer(pipes, ahead)
            self._last = None if isinstance(data, bytes) else weakref.ref(data)
            return answer
        except _BlobError as failed:
            self.stop()  # in the middle of a conversation
            raise failed.error from None
        except TimeoutError:
            self.stop()
            raise RecordingError(f"decoding took over {self._limits.timeout_s:g} s (read.decode_timeout_s)") from None
        except EOFError:
            raise RecordingError(CRASHED, self._cause_of_death()) from None
        except RecordingError as error:
            if error.reason in (CRASHED, TOO_MUCH_MEMORY, OVER_AND_OVER):
                self.stop()  # what its decoder still holds would fail the next recording too, or it waits for bytes
            raise
        except BaseException:
            self.stop()  # Ctrl-C
            raise
        finally:
            if ahead is not None:
                ahead.close()

    def _answer(self, pipes: Pipes, ahead: Ahead | None) -> tuple[float | None, AudioArray]:
        audio: AudioArray = np.empty(0, np.float32)
        num_samples, found = 0, math.nan
        most = int(self._limits.max_duration_s * SAMPLE_RATE) + SAMPLE_RATE
        while True:
            kind, length = HEADER.unpack(pipes.read(HEADER.size))
            if kind == ASK and ahead is not None and length == POSITION.size:
                (start,) = POSITION.unpack(pipes.read(length))
                before = time.monotonic()
                try:
                    piece = ahead.read(start)
                except Exception as error:
                    raise _BlobError(error) from error
                if ahead.num_bytes > MOST_READS * ahead.size + SPARE_READS:
                    raise RecordingError(OVER_AND_OVER, f"{ahead.num_bytes} bytes of {ahead.size}")
                pipes.deadline += time.monotonic() - before  # a slow store is no fault of the decoder
                pipes.write(HEADER.pack(ASK, len(piece)))
                pipes.write(piece)
            elif kind in _SAMPLES and num_samples + length // _SAMPLES[kind].itemsize <= most:
                if not num_samples:
                    claim = (found + 1) * SAMPLE_RATE  # codecs pad, and to grow would copy it
                    audio = np.empty(int(claim) if 0 < claim < most else 0, _SAMPLES[kind])
                end = num_samples + length // audio.itemsize
                if end > len(audio):  # more than it claims, or it claims nothing
                    audio.resize(end + end // 4, refcheck=False)  # the system moves pages, not bytes
                pipes.read_into(audio[num_samples:end].data.cast("B"))
                num_samples = end
            elif kind == FOUND and length == NUMBER.size:
                (found,) = NUMBER.unpack(pipes.read(length))
            elif kind == DONE and NUMBER.size <= length <= MAX_WORDS:
                words = pipes.read(length)
                self.cpu_s += NUMBER.unpack_from(words)[0]
                if (failure := _failure(words[NUMBER.size :])) is not None:
                    raise failure
                audio.resize(num_samples, refcheck=False)
                return None if math.isnan(found) else found, audio
            else:
                raise RecordingError(CRASHED, NONSENSE)

    def _started(self) -> Pipes:
        """The pipes to a child that is ready: what it needs to start is no part of a recording's time."""
        for _ in range(NUM_STARTS):
            pipes = Pipes(self.start(), time.monotonic() + START_S)
            if self._ready:
                return pipes
            try:
                self._ready = HEADER.unpack(pipes.read(HEADER.size))[0] == READY
                return pipes
            except EOFError:
                cause = self._cause_of_death()
            except TimeoutError:
                self.stop()
                cause = f"it is not ready after {START_S:g} s"
            except BaseException:
                self.stop()  # Ctrl-C
                raise
            if cause not in signal.Signals.__members__:
                break
        raise RuntimeError(f"the audio decoder does not start: {cause}")

    def _cause_of_death(self) -> str:
        """Of a child that closed its pipe, which it may have outlived."""
        assert self._child is not None
        deadline = time.monotonic() + END_S
        while (code := _how_it_ended(self._child)) is None and time.monotonic() < deadline:
            time.sleep(0.001)
        self.stop()
        if code is None:
            return "it closed its pipe"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _how_it_ended(child: "subprocess.Popen[bytes]") -> int | None:
    """As `poll()` has it, but what the child left behind can still be found by its number afterwards."""
    try:
        state = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:  # somebody has waited for it
        return child.returncode or 0
    if state is None:
        return None
    return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status


class _BlobError(Exception):
    """What a blob raised, which may itself look like a child that is late or gone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _failure(words: bytes) -> RecordingError | None:
    try:
        failure = json.loads(words)
        return None if failure is None else RecordingError(*failure)
    except (ValueError, TypeError):
        return RecordingError(CRASHED, NONSENSE)
