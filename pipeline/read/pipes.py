"""The parent's ends of the pipes to a child, on which nobody waits for ever.

Knows nothing of what goes through them.
"""

import contextlib
import fcntl
import os
import selectors
import subprocess
import time

PIPE_BYTES = 2**20  # all that the system grants: each time a pipe is full, two processes change places


class Pipes:
    """Both ways to the child, neither waited for longer than until the deadline: TimeoutError."""

    def __init__(self, child: "subprocess.Popen[bytes]", deadline: float) -> None:
        assert child.stdin is not None and child.stdout is not None
        self.deadline = deadline
        self._down, self._up = child.stdin.fileno(), child.stdout.fileno()
        for pipe in (self._down, self._up):
            os.set_blocking(pipe, False)
            with contextlib.suppress(PermissionError):  # a user may have only so much of this
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(BrokenPipeError):  # it died while reading; what killed it, reading will tell
            while view:
                try:
                    view = view[os.write(self._down, view) :]
                except BlockingIOError:
                    self._wait(self._down, selectors.EVENT_WRITE)

    def read(self, length: int) -> bytes:
        data = bytearray(length)
        self.read_into(memoryview(data))
        return bytes(data)

    def read_into(self, view: memoryview) -> None:
        """All of it, or EOFError."""
        while view:
            try:
                count = os.readv(self._up, [view])
            except BlockingIOError:
                self._wait(self._up, selectors.EVENT_READ)
                continue
            if not count:
                raise EOFError
            view = view[count:]

    def _wait(self, pipe: int, event: int) -> None:
        with selectors.PollSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(0.0, self.deadline - time.monotonic())):
                raise TimeoutError
