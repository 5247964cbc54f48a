"""Steps that Ctrl-C does not break: between the beginning and the end of one there is no state to go on from."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def unbroken() -> Iterator[None]:
    """Signals wait for the end of the `with` block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in before:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for late in waiting:
        signal.raise_signal(late)


def unstirred(worker: int) -> None:
    """For a process that helps: what ends a whole group is for the one that trains, which lets it go after saving."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
