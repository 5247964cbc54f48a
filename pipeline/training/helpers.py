"""Processes that learn along on a CPU: each hears a share of every batch and works out its gradients.

Two of one thread learn faster than one of two: much of a step is work too small to be divided. The weights are in
memory that all of them share, and one process alone changes them, between steps. Knows nothing of optimisers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, multiprocessing

from pipeline.errors import StageError
from pipeline.models.ctc import ForCTC
from pipeline.text.features import FeatureExtractor
from pipeline.training import memory
from pipeline.training.batches import Batch
from pipeline.training.loss import loss_of
from pipeline.training.unbroken import unstirred

GONE = "a process that helps to learn ended; was there too little memory?"


class Helpers:
    """So many of them, within a `with` block, for one model."""

    def __init__(self, num: int, model: ForCTC, features: FeatureExtractor) -> None:
        self._num, self._model, self._features = num, model, features
        self._num_threads = torch.get_num_threads()  # of all together
        self._connections: list[Connection] = []
        self._gradients: list[list[Tensor]] = []  # of each helper, those of all weights
        self._at_work: list[int] = []
        self._open = ExitStack()

    def __len__(self) -> int:
        return self._num

    def __enter__(self) -> "Helpers":
        if not self._num:
            return self
        torch.set_num_threads(max(1, self._num_threads // (1 + self._num)))
        self._open.callback(torch.set_num_threads, self._num_threads)
        context = multiprocessing.get_context("spawn")
        self._model.share_memory()
        for _ in range(self._num):
            gradients = [torch.zeros_like(weight) for weight in self._model.parameters()]
            for gradient in gradients:
                gradient.share_memory_()  # type: ignore[no-untyped-call]
            ours, theirs = context.Pipe()
            settings = self._model, self._features, gradients, torch.get_num_threads(), theirs
            process: Any = context.Process(target=_serve, args=settings, daemon=True)
            process.start()
            theirs.close()  # so that either side hears of the other's end
            self._open.callback(process.join)
            self._open.callback(ours.close)
            self._connections.append(ours)
            self._gradients.append(gradients)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While they have nothing to do, their threads are for whoever has."""
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
            except BrokenPipeError as error:
                raise StageError(GONE) from error

    def finish(self) -> float:
        """Their gradients are added to those that the weights have; gives their part of the loss."""
        loss = 0.0
        for number in self._at_work:
            try:
                found = self._connections[number].recv()
            except (EOFError, ConnectionResetError) as error:
                raise StageError(GONE) from error
            if isinstance(found, BaseException):
                raise found
            loss += found
            for weight, theirs in zip(self._model.parameters(), self._gradients[number], strict=True):
                if weight.grad is not None:
                    weight.grad += theirs
        return loss


def _serve(
    model: ForCTC, features: FeatureExtractor, gradients: list[Tensor], num_threads: int, connection: Connection
) -> None:
    """Until nobody is left to ask."""
    unstirred(0)
    memory.keep()
    torch.set_num_threads(num_threads)
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        weight.grad = gradient  # which going back adds to in place
    for buffer in model.buffers():
        buffer.data = buffer.clone()  # what norms gather of batches is for one process to say
    while True:
        try:
            batch, num_labels = connection.recv()
        except EOFError:
            return
        for gradient in gradients:
            gradient.zero_()
        try:
            loss = loss_of(batch, model, features) / num_labels
            loss.backward()
        except Exception as error:
            connection.send(error)
        else:
            connection.send(loss.item())
