"""What Ray Data must be told so that a long night is not given up."""

import os
import subprocess
import sys

import pytest

SLOW_RUN = """
import time
from pipeline.carry import Stage, on_ray
from pipeline.config import RunConfig
from pipeline.unit import Unit
from pipeline.resources import Pool
from pipeline.session import ray_session

def slow(unit):
    time.sleep(8)
    return unit

with ray_session(RunConfig(cpus=1)):
    done = list(on_ray([Stage("encode", lambda: slow, Pool(1, 0.0))], [Unit(0)]))
print(len(done))
"""


@pytest.mark.ray
def test_a_stage_slower_than_rays_limit_is_not_given_up():
    """By default Ray Data ends a run in which no block moves for 30 minutes; here for two seconds."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW_RUN],
        env={**os.environ, "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "2"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == ["1"], done.stderr
    assert done.stderr == ""
