"""Nightshift's library: stages that turn audio shards into scored transcripts. Importing it does no work.

`from pipeline import pipeline` is the call that code for these models begins with; it is imported when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.tasks.call import pipeline

__all__ = ["pipeline"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name != "pipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.tasks.call import pipeline

    globals()[name] = pipeline  # the next time it is found without asking here
    return pipeline


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
