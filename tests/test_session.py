"""What Ray Data must be told so that a long night is not given up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.carry import Stage, on_ray
from pipeline.config import RunConfig
from pipeline.resources import Pool
from pipeline.session import ray_session
from pipeline.unit import Unit


def slow(unit: Unit) -> Unit:
    time.sleep(8)
    return unit


@pytest.mark.ray
def test_a_stage_slower_than_rays_limit_is_not_given_up(ray_here, monkeypatch):
    """By default Ray Data ends a run in which no block moves for 30 minutes; here for two seconds."""
    import ray.data

    monkeypatch.setattr(ray.data.DataContext.get_current(), "execution_no_progress_timeout_s", 2)
    with ray_session(RunConfig(cpus=1)):
        assert len(list(on_ray([Stage("encode", lambda: slow, Pool(1, 0.0))], [Unit(0)]))) == 1


HUNGRY_RUN = """
from pipeline.carry import Stage, on_ray
from pipeline.config import RunConfig
from pipeline.resources import Pool
from pipeline.session import ray_session
from pipeline.unit import Unit
import time

def hungry(unit):
    if unit.id == 1:
        hoard = []
        for _ in range(200):
            hoard.append(bytearray(b"x") * 2**27)
            time.sleep(0.05)
    return unit

with ray_session(RunConfig(cpus=1)):
    stages = [Stage("read", lambda: hungry, Pool(None, 1.0))]
    done = sorted(unit.id for unit in on_ray(stages, [Unit(n) for n in range(3)]))
print(*done)
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_task_that_eats_the_memory_is_not_started_for_ever():
    """Ray counts its own memory kills apart from other deaths, and without bound."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(meminfo[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    threshold = (total - free + 4 * 2**20) / total  # 4 GB above what is in use now
    if threshold > 0.9:
        pytest.skip("too little memory is free")
    done = subprocess.run(
        [sys.executable, "-c", HUNGRY_RUN],
        env={**os.environ, "RAY_memory_usage_threshold": str(threshold)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.split() == ["0", "2"], done.stderr


LATE_NEWS_RUN = """
import os
from pipeline.carry import Stage
from pipeline.config import RunConfig
from pipeline.isolate import isolate
from pipeline.records import Recording
from pipeline.resources import Pool
from pipeline.session import ray_session
from pipeline.unit import Unit

def deadly(unit):
    if unit.recordings[0].id == "b":
        os._exit(1)
    return unit

def finish(unit):
    unit.finish()
    return unit

with ray_session(RunConfig(cpus=1)):
    stages = [Stage("encode", lambda: deadly, Pool(1, 0.0)), Stage("write", lambda: finish, Pool(None, 1.0))]
    unit = isolate(stages, Unit(0, [Recording(name, "") for name in "abc"]))
print(*(recording.status for recording in unit.recordings))
"""


@pytest.mark.slow
@pytest.mark.ray
def test_isolation_survives_late_news_of_a_death():
    """Ray then calls the actor unavailable instead of dead."""
    done = subprocess.run(
        [sys.executable, "-c", LATE_NEWS_RUN],
        env={**os.environ, "RAY_timeout_ms_task_wait_for_death_info": "0"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout.split() == ["ok", "failed", "ok"], done.stderr
