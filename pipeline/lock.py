"""One driver per run: a lock file that its holder keeps fresh, so that a dead holder's lock can be taken over.

Of several who start at once, one creates it where the store has conditional writes; elsewhere the last to write has it.
Knows nothing of what the lock protects.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import replace
from types import TracebackType

from pipeline.errors import UsageError
from pipeline.storage_errors import as_usage
from pipeline.store import Folder, is_local

LOCK = "lock.json"
BEAT_S = 10.0  # between two signs of life
STALE_S = 60.0  # without a sign of life the holder counts as dead: six beats, for a store that is away for a while
WATCH_S = 3 * BEAT_S  # a holder on another host that seems dead, which may only mean that one of the clocks is wrong
SETTLE_S, SETTLE_LOCALLY_S = 2.0, 0.5  # for another who found no holder, or the same dead one, to have written, too

_held_here: set[str] = set()  # tokens this process holds: in a container a dead holder may have had our process id


class Lock:
    """Held inside a `with` block; `check` raises once it no longer is."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._lost = False

    def check(self) -> None:
        """Before anything that another driver might have to rue."""
        holder = None if self._lost else _holder(self._folder)
        if holder is None or holder["token"] != self._token:
            why = "another driver took over this run, because this one gave no sign of life for a while"
            raise UsageError(f"{self._folder.url}: {why}")

    def __enter__(self) -> "Lock":
        with as_usage(self._folder.url):
            self._take()
        _held_here.add(self._token)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        _held_here.discard(self._token)
        folder = replace(self._folder, deadline_s=BEAT_S)
        with contextlib.suppress(Exception):  # of a store that is away; the lock goes stale by itself
            holder = _holder(folder)
            if holder is not None and holder["token"] == self._token:  # it may have been taken over since the last beat
                folder.delete([LOCK])

    def _take(self) -> None:
        folder = self._folder
        settled = False
        if self._create():
            # Where this is refused, as it should be, so is everybody else.
            settled = not folder.create(LOCK, self._sign_of_life() + b"\n")
        else:
            if (holder := _holder(folder)) is None:
                time.sleep(0.5)  # its writer is between creating and filling it, or died there
                holder = _holder(folder)
            if holder is not None and (_alive(holder) or self._beats(holder)):
                raise UsageError(
                    f"{folder.url} is being written by another driver (process {holder['pid']} on "
                    f"{holder['host']}); wait for it, or stop it and start again"
                )
            # Not deleted and created anew: of two who take over, one could delete the other's. The last to write wins.
            folder.publish(LOCK, self._sign_of_life())
        if not settled:
            time.sleep(SETTLE_LOCALLY_S if is_local(folder.files) else SETTLE_S)
        if (holder := _holder(folder)) is None or holder["token"] != self._token:
            raise UsageError(f"{folder.url}: another driver started on this run at the same moment")

    def _beats(self, holder: dict[str, str]) -> bool:
        """Whether one on another host, whose clock may be wrong by more than it is silent, is at work all the same."""
        if not _is_elsewhere(holder):
            return False
        ends = time.monotonic() + WATCH_S
        while time.monotonic() < ends:
            time.sleep(WATCH_S / 30)
            if _holder(self._folder) != holder:
                return True
        return False

    def _create(self) -> bool:
        try:
            return self._folder.create(LOCK, self._sign_of_life())
        except OSError as error:
            if error.errno is None:  # a store's
                raise
            raise UsageError(f"cannot write to {self._folder.url}: {error.strerror or error}") from error

    def _sign_of_life(self) -> bytes:
        life = {"token": self._token, "pid": os.getpid(), "beat": time.time(), **_here()}
        return json.dumps(life).encode()

    def _beat(self) -> None:
        folder = replace(self._folder, deadline_s=BEAT_S)
        while not self._done.wait(BEAT_S):
            try:
                holder = _holder(folder)
                if holder is None or holder["token"] != self._token:
                    self._lost = True
                    return
                folder.publish(LOCK, self._sign_of_life())
            except Exception:  # backends raise their own kinds; a thread that died of one would let the lock go stale
                continue  # a store that is away for a moment: the next beat tries again, and STALE_S is six beats


def _here() -> dict[str, str]:
    """This host, and on Linux which numbering of processes: containers may share the one and not the other."""
    with contextlib.suppress(OSError):
        return {"host": socket.gethostname(), "processes": os.readlink("/proc/self/ns/pid")}
    return {"host": socket.gethostname(), "processes": ""}


def held_by(folder: Folder) -> str | None:
    """The driver that is at work in a folder, for those who only look."""
    holder = _holder(folder)
    return f"process {holder['pid']} on {holder['host']}" if holder is not None and _alive(holder) else None


def _holder(folder: Folder) -> dict[str, str] | None:
    """Who holds the lock; None where there is none, or where its writer died half-way."""
    try:
        holder = json.loads(folder.read(LOCK))
        return holder if {"token", "host", "pid", "beat"} <= holder.keys() else None
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def _is_elsewhere(holder: dict[str, str]) -> bool:
    return any(holder.get(key) != value for key, value in _here().items())


def _alive(holder: dict[str, str]) -> bool:
    """As far as our clock can tell."""
    if abs(time.time() - float(holder["beat"])) > STALE_S:
        return False
    if _is_elsewhere(holder):
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, and alive
    return int(holder["pid"]) != os.getpid() or holder["token"] in _held_here
