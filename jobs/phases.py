"""What a job is doing while it takes its time, told on stderr. Knows nothing of what that is."""

import time

from pipeline.progress import clock

TELL_EVERY_S = 15.0  # where stderr is no terminal


class Phases:
    """What is going on: one line that changes on a terminal, a line per phase or so elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._status = self._console.status("")
        self._phase = ""
        self._began = self._told = time.monotonic()

    def __enter__(self) -> "Phases":
        self._status.start() if self._console.is_terminal else None
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def tell(self, text: str) -> None:
        """What stands before a colon names the phase, what follows says how far it is."""
        now, phase = time.monotonic(), text.partition(":")[0]
        if self._console.is_terminal:
            self._status.update(f"{text} ({clock(now - self._began)})")
        elif phase != self._phase or now - self._told >= TELL_EVERY_S:
            self._told = now
            self._console.print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)
        self._phase = phase
