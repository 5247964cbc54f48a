"""One recording, a list or a stream of them, to one answer, a list or a stream: what all tasks have in common.

Knows nothing of what the answers are, nor of what recordings are heard by.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, Never, TypeVar

from pipeline.encode import BATCH_S
from pipeline.errors import UsageError
from pipeline.models.backbone import Head
from pipeline.records import SAMPLE_RATE
from pipeline.tasks.inputs import Heard, hear, is_one

Options = TypeVar("Options", bound=Any)  # the options of a task, a frozen dataclass

# What code for transformers may say beside; it changes nothing here.
HARMLESS = ("num_workers", "ignore_warning", "use_fast", "framework")


class Task(ABC, Generic[Options]):
    """A model that answers. What is asked for at a call counts before what was at making."""

    task: ClassVar[str]
    max_channels: ClassVar[int]  # of arrays
    refused: ClassVar[Mapping[str, str]] = {}  # arguments that other models take, and why not these

    def __init__(self, model: Head, options: Options, batch_size: int | None) -> None:
        self.model = model
        self.device = model.device
        self.at_once_s = BATCH_S["cuda" if self.device.type == "cuda" else "cpu"]
        self._options = options
        self._batch_size = _checked_size(batch_size)

    def __reduce__(self) -> Never:
        raise UsageError(
            "a pipeline is not pickled: give other processes the model's name, and have each call pipeline() once"
        )

    @property
    def dtype(self) -> Any:
        """Of the model's weights."""
        return self.model.dtype

    torch_dtype = dtype

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """The answer to a recording, a list of answers to a list, and to any other iterable an iterator of answers,
        which has the length of what is gone through, if that has one.

        `batch_size`: how many at most are computed together, which changes no answer. By default as many of a list as
        fill the device; of an iterable, which is asked for no more than is needed, one.
        """
        chosen = updated(self._options, options, self.refused)
        self.check(chosen)
        size = _checked_size(batch_size) or self._batch_size
        if is_one(inputs):
            return next(self._answers([("the recording", inputs)], chosen, 1))
        if isinstance(inputs, list | tuple):
            return list(self._answers(_named(inputs), chosen, size))
        answers = self._answers(_named(_iterable(inputs)), chosen, size or 1)
        return Answers(answers, inputs) if isinstance(inputs, Sized) else answers

    @abstractmethod
    def check(self, options: Options) -> None:
        """A UsageError for what this model cannot do."""

    @abstractmethod
    def answers(self, heard: list[Heard], options: Options) -> Iterator[Any]:
        """In order; a UsageError in the place of one that there is none to."""

    def _answers(self, inputs: Iterable[tuple[str, Any]], options: Options, size: int | None) -> Iterator[Any]:
        enough = self.at_once_s * SAMPLE_RATE
        waiting: list[Heard] = []
        try:
            for name, given in inputs:
                waiting.append(hear(given, name, self.max_channels))
                if len(waiting) == size or sum(len(one.audio) for one in waiting) >= enough:
                    batch, waiting = waiting, []
                    yield from self.answers(batch, options)
        except Exception:  # of a recording that cannot be read, or of who gives them: those before it have their answer
            yield from self.answers(waiting, options)
            raise
        yield from self.answers(waiting, options)


class Answers(Iterator[Any]):
    """In order; their number is known before they are, as progress bars ask for it."""

    def __init__(self, answers: Iterator[Any], inputs: Sized) -> None:
        self._answers, self._inputs = answers, inputs

    def __next__(self) -> Any:
        return next(self._answers)

    def __len__(self) -> int:
        return len(self._inputs)


def updated(
    options: Options, given: Mapping[str, Any], refused: Mapping[str, str], others: Sequence[str] = ()
) -> Options:
    """With what is given; None is nothing given. `others` could have been given too, for the message."""
    known = [entry.name for entry in fields(options)]
    for name in given:
        if name in refused:
            raise UsageError(f"{name}: {refused[name]}")
        if name not in (*known, *HARMLESS):
            raise UsageError(unknown(name, [*known, *(others or ("batch_size",)), *HARMLESS]))
    return replace(options, **{name: given[name] for name in known if given.get(name) is not None})


def unknown(name: str, known: list[str]) -> str:
    """A message."""
    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"there is no argument {name}; {hint}"


def _named(inputs: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"inputs[{number}]", given) for number, given in enumerate(inputs))


def _iterable(inputs: Any) -> Iterable[Any]:
    """Of data sets that know their length and their rows, and no more, too."""
    return inputs if hasattr(inputs, "__iter__") else (inputs[number] for number in range(len(inputs)))


def _checked_size(size: int | None) -> int | None:
    if size is not None and (type(size) is not int or size < 1):
        raise UsageError(f"batch_size is a whole number from 1 on, not {size!r}")
    return size
