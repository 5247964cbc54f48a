"""How a plan is carried: in this process, or by Ray Data, which moves units as rows between tasks and actors.

Knows nothing of what the stages do. Four properties of Ray Data 2.60 shape it:
- a row is a unit, so no splitting or bundling of blocks can tear one apart, and a batch of one row fits GPU stages;
- an exception in a stage would be retried or swallowed, so it travels to the driver as a value and is raised there;
- an input that kills its process would be retried for ever, so retries are bounded and the unit is dropped, which
  the driver notices because no commit arrives;
- tasks need a whole CPU, so what actors may reserve is decided in `resources`.
"""

import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import StageError, UsageError
from pipeline.resources import Pool
from pipeline.storage_errors import told, without_secrets
from pipeline.store import num_retried
from pipeline.unit import Unit

RunStage = Callable[[Unit], Unit]


@dataclass(frozen=True)
class Stage:
    """A step of the plan: its name, what builds it inside its process, and where it runs."""

    name: str
    make: Callable[[], RunStage]
    pool: Pool


@dataclass(frozen=True)
class Fault:
    """An exception of ours on its way to the driver, as a value."""

    error: UsageError | StageError

    @classmethod
    def of(cls, stage: str, error: Exception) -> "Fault":
        if isinstance(error, UsageError):
            return cls(UsageError(str(error)))  # without a cause, which might not survive the way
        trace = "" if isinstance(error, OSError) else without_secrets(traceback.format_exc())
        return cls(StageError(f"{stage} failed: {told(error)}", trace))


# ---- in this process


def in_process(stages: list[Stage], units: Iterable[Unit]) -> Iterator[Unit]:
    """Every unit through every stage, in order; as many units side by side as every stage has actors, here threads."""
    num = min((stage.pool.actors or 1 for stage in stages), default=1)
    if num == 1:
        made = _made(stages)
        yield from (_through(made, unit) for unit in units)
        return
    idle: SimpleQueue[list[tuple[str, RunStage]]] = SimpleQueue()
    for _ in range(num):
        idle.put(_made(stages))

    def carried(unit: Unit) -> Unit:
        made = idle.get()
        try:
            return _through(made, unit, time.thread_time)
        finally:
            idle.put(made)

    threads = ThreadPoolExecutor(num, "unit")
    try:
        yield from threads.map(carried, units)
    finally:
        threads.shutdown(cancel_futures=True)  # who stops early waits for what has begun, and for no more


def _made(stages: list[Stage]) -> list[tuple[str, RunStage]]:
    return [(stage.name, stage.make()) for stage in stages]


def _through(made: list[tuple[str, RunStage]], unit: Unit, cpu_s: Callable[[], float] = time.process_time) -> Unit:
    for name, stage in made:
        unit = timed(name, stage, unit, cpu_s)
    return unit


def timed(name: str, stage: RunStage, unit: Unit, cpu_s: Callable[[], float] = time.process_time) -> Unit:
    """The stage's result, with the seconds it took and the requests it made again written on it: of threads side by
    side also those of the others.
    """
    wall, cpu, retried_before = time.perf_counter(), cpu_s(), num_retried()
    result = stage(unit)
    result.num_retried += num_retried() - retried_before
    result.stage_s[name] = time.perf_counter() - wall
    # A stage with a child process has already written what the child spent.
    result.stage_cpu_s[name] = result.stage_cpu_s.get(name, 0.0) + cpu_s() - cpu
    return result


# ---- on Ray


def on_ray(stages: list[Stage], units: list[Unit]) -> Iterator[Unit]:
    """The plan as one streaming Ray Data pipeline; units come out as they are done, in any order.

    A unit that killed its process, and again when it was retried, does not come out at all.
    """
    import ray.data

    rows = [{"id": unit.id, "attempt": unit.attempt} for unit in units]
    dataset: Any = ray.data.from_items(rows, override_num_blocks=len(rows))  # a row and a block each
    for stage in stages:
        options: dict[str, Any] = {"num_cpus": stage.pool.cpus, "batch_size": 1, "batch_format": "pyarrow"}
        if stage.pool.actors is None:
            # Retries for the death of a node, not for ever, as is Ray Data's default.
            dataset = dataset.map_batches(partial(_task, stage.name, stage.make), max_retries=2, **options)
            continue
        if stage.pool.gpus:
            options["num_gpus"] = stage.pool.gpus
        # Of all settings of these two, this pair alone neither loops for ever nor hangs (tried on Ray 2.60).
        options |= {"max_restarts": -1, "max_task_retries": 1}
        dataset = dataset.map_batches(
            _Carried,
            fn_constructor_args=(stage.name, stage.make),
            compute=ray.data.ActorPoolStrategy(size=min(stage.pool.actors, len(units))),
            **options,
        )
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in range(batch.num_rows):
            unit = _unpack(batch.slice(row, 1))
            if isinstance(unit, Fault):
                raise unit.error
            yield unit


def _task(name: str, make: Callable[[], RunStage], table: pa.Table) -> pa.Table:
    return _Carried(name, make)(table)


class _Carried:
    """A stage as Ray Data calls it. It never raises: a fault is packed in place of the unit and handed through.

    The stage is built at the first unit, because an actor that dies while it is constructed is restarted for ever.
    """

    def __init__(self, name: str, make: Callable[[], RunStage]) -> None:
        self._name, self._make = name, make
        self._stage: RunStage | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        try:
            unit = _unpack(table)
            if isinstance(unit, Unit):
                self._stage = self._stage or self._make()
                unit = timed(self._name, self._stage, unit)
            return _pack(unit)
        except Exception as error:
            return _pack(Fault.of(self._name, error))


def _pack(value: "Unit | Fault") -> pa.Table:
    """A row with one cell of buffers: the pickle, then its arrays out of band, which are read without a copy."""
    arrays: list[pickle.PickleBuffer] = []
    pickled = memoryview(pickle.dumps(value, protocol=5, buffer_callback=arrays.append))
    buffers = [pickled, *(array.raw() for array in arrays)]
    ends = np.cumsum([0, *(buffer.nbytes for buffer in buffers)], dtype=np.int64)
    joined = np.empty(ends[-1], np.uint8)
    for buffer, start, end in zip(buffers, ends[:-1], ends[1:], strict=True):
        joined[start:end] = np.frombuffer(buffer, np.uint8)
    cells = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(buffers), [None, pa.py_buffer(ends), pa.py_buffer(joined)]
    )
    return pa.table({"unit": pa.LargeListArray.from_arrays(pa.array([0, len(buffers)], pa.int64()), cells)})


def _unpack(table: pa.Table) -> "Unit | Fault":
    if "id" in table.column_names:  # a unit that no stage has seen yet
        (row,) = table.to_pylist()
        return Unit(row["id"], attempt=row["attempt"])
    cells = table.column("unit").chunk(0)[0].values
    buffers = [cells[number].as_buffer() for number in range(len(cells))]
    return pickle.loads(buffers[0], buffers=buffers[1:])  # type: ignore[no-any-return]
