"""Carrying: Ray must change nothing but the speed, and lose nothing silently."""

import os
import pickle
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline import carry
from pipeline.carry import Fault, Stage, in_process, on_ray
from pipeline.errors import StageError, UsageError
from pipeline.isolate import isolate
from pipeline.resources import Pool
from pipeline.unit import Unit
from tests.doubles import Deadly, Sum, finish, listed

TASK, ACTOR = Pool(None, 1.0), Pool(1, 0.0)


class Broken:
    def __call__(self, unit: Unit) -> Unit:
        if unit.id == 2:
            raise OSError(28, "No space left on device")
        return unit


class NeverBuilt:
    def __init__(self) -> None:
        raise UsageError("no model there")


def plan(*middle: Stage) -> list[Stage]:
    return [Stage("read", lambda: listed, TASK), *middle, Stage("write", lambda: finish, TASK)]


def texts(units) -> dict[str, str | None]:
    return {recording.id: recording.text for unit in units for recording in unit.recordings}


def test_packing_keeps_a_unit_and_copies_no_array():
    unit = listed(Unit(3, columns=pa.table({"speaker": ["a"] * 4}), stage_s={"read": 0.5}))
    unit.recordings[3].audio = np.arange(10_000, dtype=np.float32)
    table = pa.concat_tables([carry._pack(Unit(1)), carry._pack(unit)])  # as a slice of a longer table
    copy = carry._unpack(table.slice(1, 1))
    assert isinstance(copy, Unit)
    assert copy.columns == unit.columns
    assert copy.stage_s == unit.stage_s
    assert [r.id for r in copy.recordings] == [r.id for r in unit.recordings]
    np.testing.assert_array_equal(copy.recordings[3].audio, unit.recordings[3].audio)
    assert not copy.recordings[3].audio.flags.owndata


def test_units_side_by_side_come_out_in_order_each_through_stages_of_its_own() -> None:
    """A stage is no more than one thread's: a phonemiser talks to one process. What is slow must not overtake."""
    together, made = threading.Barrier(3), []

    class Meeting:
        def __init__(self) -> None:
            made.append(self)
            self.busy = threading.Lock()

        def __call__(self, unit: Unit) -> Unit:
            assert self.busy.acquire(blocking=False)
            if unit.id < 3:
                together.wait(20)  # of the first three, all have begun
                time.sleep((3 - unit.id) / 20)
            self.busy.release()
            return unit

    stages = plan(Stage("encode", Meeting, Pool(3, 0.0)))
    assert [unit.id for unit in in_process(stages[1:2], (Unit(number) for number in range(20)))] == list(range(20))
    assert len(made) == 3


def test_side_by_side_a_fault_comes_through_and_nothing_new_is_begun_after_it() -> None:
    begun, three = [], Pool(3, 0.0)

    def slow(unit: Unit) -> Unit:
        begun.append(unit.id)
        time.sleep(0.02)
        return unit

    with pytest.raises(OSError, match="No space left"):
        list(in_process([Stage("a", lambda: slow, three), Stage("b", Broken, three)], map(Unit, range(200))))
    assert len(begun) < 50
    begun.clear()
    carried = in_process([Stage("a", lambda: slow, three)], map(Unit, range(200)))
    next(carried)
    carried.close()
    assert len(begun) < 50


@pytest.mark.ray
def test_ray_and_this_process_agree(ray_here):
    stages = plan(Stage("encode", Sum, ACTOR), Stage("decode", Sum, TASK))
    here = texts(in_process(stages, [Unit(n) for n in range(9)]))
    there = texts(on_ray(stages, [Unit(n) for n in range(9)]))
    assert here == there
    assert len(there) == 36


@pytest.mark.ray
@pytest.mark.parametrize("pool", [TASK, ACTOR])
def test_a_fault_of_ours_stops_the_run_and_is_told(ray_here, pool):
    """Ray Data, as it is set up here, would log the exception and drop the unit."""
    with pytest.raises(StageError, match=r"encode failed: OSError: .*No space left on device"):
        list(on_ray(plan(Stage("encode", Broken, pool)), [Unit(n) for n in range(4)]))


@pytest.mark.ray
def test_a_stage_that_cannot_be_built_is_a_usage_error_not_a_restart_loop(ray_here):
    with pytest.raises(UsageError, match=r"^no model there$"):
        list(on_ray(plan(Stage("encode", NeverBuilt, ACTOR)), [Unit(0)]))


def test_a_fault_keeps_its_stage_and_trace():
    try:
        raise ValueError("boom")
    except ValueError as error:
        fault = Fault.of("encode", error)
    assert str(fault.error.args[0]) == "encode failed: ValueError: boom"
    assert "in test_a_fault_keeps_its_stage_and_trace" in fault.error.trace
    assert pickle.loads(pickle.dumps(fault)).error.trace == fault.error.trace


@pytest.mark.ray
@pytest.mark.parametrize("pool", [TASK, ACTOR])
def test_an_input_that_kills_its_process_loses_its_unit_only_and_is_then_found(ray_here, tmp_path, monkeypatch, pool):
    """Ray Data's default is to restart and retry for ever."""
    monkeypatch.setattr("pipeline.isolate.STRIKES", 2)  # each death is a process that starts anew
    stages = plan(Stage("encode", partial(Deadly, "2-1", tmp_path), pool), Stage("decode", Sum, ACTOR))
    done = {unit.id for unit in on_ray(stages, [Unit(n) for n in range(4)])}
    assert len(list(tmp_path.iterdir())) <= 4  # bounded
    if neighbours := {0, 1, 3} - done:  # that waited at the same actor each time; the driver makes a second pass
        done |= {unit.id for unit in on_ray(stages, [Unit(n) for n in neighbours])}
    assert done == {0, 1, 3}

    unit = isolate(stages, listed(Unit(2)))
    assert [recording.status for recording in unit.recordings] == ["ok", "failed", "ok", "ok"]
    assert unit.recordings[1].error == "encode: killed its process"
    assert [recording.text for recording in unit.recordings] == ["0.0", None, "4.0", "6.0"]


@pytest.mark.ray
def test_a_process_that_dies_while_its_stage_is_built_neither_loops_nor_blames_a_recording(ray_here, monkeypatch):
    """A model too large for the memory, say: Ray would restart such an actor for ever."""
    monkeypatch.setattr("pipeline.isolate.STRIKES", 2)
    stages = plan(Stage("encode", die, ACTOR))
    assert list(on_ray(stages, [Unit(0)])) == []
    with pytest.raises(StageError, match=r"before it had seen a recording"):
        isolate(stages, listed(Unit(0)))
    with pytest.raises(UsageError, match=r"^no model there$"):
        isolate(plan(Stage("encode", NeverBuilt, ACTOR)), listed(Unit(0)))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.ray
def test_a_recording_is_not_blamed_for_what_happened_to_its_process_by_chance(ray_here, tmp_path):
    """The kernel took its memory back while others had it all, say, and later there was enough."""
    (tmp_path / "built").mkdir()
    (tmp_path / "run").mkdir()
    unit = isolate(plan(Stage("encode", partial(Unlucky, tmp_path), ACTOR)), listed(Unit(2)))
    assert [recording.status for recording in unit.recordings] == ["ok"] * 4
    assert [len(list((tmp_path / name).iterdir())) for name in ("built", "run")] == [2, 2]


class Unlucky:
    """Killed twice while it is built, and twice at work."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks
        self._killed("built")

    def __call__(self, unit: Unit) -> Unit:
        if unit.recordings[0].id == "2-1":
            self._killed("run")
        return unit

    def _killed(self, doing: str) -> None:
        if (num := len(list((self.marks / doing).iterdir()))) < 2:
            (self.marks / doing / str(num)).touch()
            die()


@pytest.mark.ray
def test_a_unit_that_cannot_travel_is_a_fault_and_not_dropped(ray_here):
    with pytest.raises(StageError, match=r"encode failed: .*pickle"):
        list(on_ray(plan(Stage("encode", lambda: make_unpicklable, TASK)), [Unit(0)]))


def make_unpicklable(unit: Unit) -> Unit:
    unit.recordings[0].text = lambda: None
    return unit


@pytest.mark.ray
def test_isolation_does_not_hide_faults_of_ours(ray_here):
    with pytest.raises(StageError, match=r"No space left on device"):
        isolate(plan(Stage("encode", AlwaysBroken, ACTOR)), listed(Unit(2)))


class AlwaysBroken:
    def __call__(self, unit: Unit) -> Unit:
        raise OSError(28, "No space left on device")
