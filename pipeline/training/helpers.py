"""Processes that learn along on a CPU: each hears a share of every batch and works out its gradients.

Two of one thread learn 1.1 to 1.3 times as fast as one of two: much of a step is too small to be divided. The weights
are in memory that all of them share, and one process alone changes them, between steps. What is learnt is the same, but
where norms are over a batch (Conformer): there each process has its share for a batch. Knows nothing of optimisers.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, multiprocessing

from pipeline.carry import Fault
from pipeline.errors import StageError, UsageError
from pipeline.models.ctc import ForCTC
from pipeline.text.features import FeatureExtractor
from pipeline.training import memory
from pipeline.training.batches import Batch
from pipeline.training.loss import loss_of
from pipeline.training.unbroken import SIGNALS, unstirred

GONE = "a process that helps to learn ended; was there too little memory?"


class Helpers:
    """So many of them, within a `with` block, for one model."""

    def __init__(self, num: int, model: ForCTC, features: FeatureExtractor) -> None:
        self._num, self._model, self._features = num, model, features
        self._num_threads = torch.get_num_threads()  # of all together
        self._connections: list[Connection] = []
        self._gradients: list[Tensor] = []  # of each helper, those of all weights in a row
        self._at_work: list[int] = []
        self._open = ExitStack()

    def __len__(self) -> int:
        return self._num

    def __enter__(self) -> "Helpers":
        if self._num:
            with ExitStack() as stack:
                torch.set_num_threads(max(1, self._num_threads // (1 + self._num)))
                stack.callback(torch.set_num_threads, self._num_threads)
                try:
                    self._model.share_memory()
                    for _ in range(self._num):
                        self._start(stack)
                except RuntimeError as error:  # of torch: no room in /dev/shm, too many open files
                    told = str(error).partition("\n")[0]
                    raise UsageError(f"memory cannot be shared with helpers ({told}): give --processes 1") from error
                self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _start(self, stack: ExitStack) -> None:
        gradients = torch.zeros(sum(weight.numel() for weight in self._model.parameters()))
        gradients.share_memory_()  # type: ignore[no-untyped-call]
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        settings = self._model, self._features, gradients, torch.get_num_threads(), theirs
        process: Any = context.Process(target=_serve, args=settings, daemon=True)
        resource_tracker.ensure_running()  # which lets signals through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the new process has that from us
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that either side hears of the other's end
        stack.callback(process.join)
        stack.callback(ours.close)
        self._connections.append(ours)
        self._gradients.append(gradients)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While they have nothing to do, their threads are for whoever has."""
        if not self._num:
            yield
            return
        each = torch.get_num_threads()
        torch.set_num_threads(self._num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(each)

    def begin(self, shares: Sequence[Batch], num_labels: int) -> None:
        """Each works on one of these, as part of a batch of so many labels."""
        self._at_work = [number for number, share in enumerate(shares) if share.num_samples]
        for number in self._at_work:
            try:
                self._connections[number].send((shares[number], num_labels))
            except OSError as error:
                raise StageError(GONE) from error

    def finish(self) -> float:
        """Their gradients are added to those that the weights have; gives their part of the loss."""
        found = [self._answer(number) for number in self._at_work]
        for answer in found:
            if isinstance(answer, Fault):
                raise answer.error
        for number in self._at_work:
            gradients = _parts(self._gradients[number], self._model)
            for weight, gradient in zip(self._model.parameters(), gradients, strict=True):
                if weight.grad is not None:
                    weight.grad += gradient
        return sum(answer for answer in found if isinstance(answer, float))

    def _answer(self, number: int) -> float | Fault:
        try:
            answer: float | Fault = self._connections[number].recv()
        except (EOFError, OSError) as error:
            raise StageError(GONE) from error
        return answer


def _parts(gradients: Tensor, model: ForCTC) -> Iterator[Tensor]:
    """Of each weight, in its shape."""
    sizes = [weight.numel() for weight in model.parameters()]
    for part, weight in zip(torch.split(gradients, sizes), model.parameters(), strict=True):
        yield part.view_as(weight)


def _serve(
    model: ForCTC, features: FeatureExtractor, gradients: Tensor, num_threads: int, connection: Connection
) -> None:
    """Until nobody is left to ask."""
    unstirred(0)
    memory.keep()
    torch.set_num_threads(num_threads)
    for weight, gradient in zip(model.parameters(), _parts(gradients, model), strict=True):
        weight.grad = gradient  # which going back adds to in place
    for buffer in model.buffers():
        buffer.data = buffer.clone()  # what norms gather of batches is for one process to say
    try:
        while True:
            batch, num_labels = connection.recv()
            connection.send(_learnt(batch, num_labels, model, features, gradients))
    except (EOFError, OSError):
        return


def _learnt(
    batch: Batch, num_labels: int, model: ForCTC, features: FeatureExtractor, gradients: Tensor
) -> float | Fault:
    """The gradients are filled."""
    gradients.zero_()
    try:
        loss = loss_of(batch, model, features) / num_labels
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        return Fault.of("learning", error)
    return loss.item()
