"""What the tests share: real data where it is at hand, a small sample, a local Ray."""

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.object_store import ceph, ceph_server, rclone, rclone_server, s3, s3_server  # noqa: F401

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# Language models and compiled code of tests are kept with the checkout, from run to run.
os.environ.setdefault("NIGHTSHIFT_CACHE", str(Path(__file__).parents[1] / "build" / "cache"))

# Of several processes that run tests, each keeps to one core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts its background jobs with SIGINT ignored, which the runs that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a busy machine is no fault of the code, and the first example pays for the imports.
hypothesis.settings.register_profile("nightshift", deadline=None)
hypothesis.settings.load_profile("nightshift")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses Ray stays in one process: two clusters at once, on two cores, would be twice as slow each."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the tests measured, by `record_property`: kills survived, peak memory, and the like."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in getattr(report, "user_properties", ()) if report.when == "call" else ():
            terminalreporter.write_line(f"{report.location[2]}: {name} {value}")


def pytest_report_header() -> str | None:
    """Say which optional decoders are not there; the tests that ask them are skipped."""
    missing = [name for name in ("kenlm", "pyctcdecode") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)} (make decoders)" if missing else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `model/` and `corpus/`, whose manifest lists twelve recordings and four broken ones."""
    from pipeline.demo.sample import write_corpus, write_model

    directory = tmp_path_factory.mktemp("sample")
    write_model(directory / "model")
    write_corpus(directory / "corpus", num_recordings=12)
    return directory


@pytest.fixture(scope="session")
def ray_here():
    """A local Ray of two CPUs that the tests of this session share."""
    from pipeline.config import RunConfig
    from pipeline.session import ray_session

    with ray_session(RunConfig(cpus=2)):
        yield
