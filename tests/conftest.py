"""What the tests share: real data where it is at hand, a small sample, a local Ray."""

import importlib.util
import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.object_store import ceph, ceph_server, rclone, rclone_server, s3, s3_server  # noqa: F401

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Language models and compiled code of tests are kept with the checkout, from run to run.
os.environ.setdefault("NIGHTSHIFT_CACHE", str(ROOT / "build" / "cache"))

# Of several processes that run tests, each keeps to one core.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts its background jobs with SIGINT ignored, which the runs that tests interrupt would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a busy machine is no fault of the code, and the first example pays for the imports.
hypothesis.settings.register_profile("nightshift", deadline=None)
hypothesis.settings.load_profile("nightshift")


# Modules that one process runs, of several. What they need is made once then: searches are compiled for most of a
# minute, stores are started. Two Rays at once, on two cores, would be twice as slow each.
TOGETHER = {
    "compiled": (
        *("tests/decode", "tests/test_tune.py", "tests/jobs/test_bench_decode.py", "tests/jobs/test_bench_words.py"),
        *("tests/tasks/test_language_model.py", "tests/text/test_lm_processor.py"),
    ),
    "stores": (
        *("tests/test_object_storage.py", "tests/test_storage_errors.py", "tests/test_store.py"),
        "tests/sources/test_found.py",
    ),
}
LONGEST = ("ray", "compiled", "tests/demo/test_bundled.py", "stores")  # begun first, so that none is left at the end


@cache
def scope_of(module: str) -> str:
    """Which tests stay in one process: those of a module, so that what it shares is made once; and some of several."""
    if "mark.ray" in (ROOT / module).read_text():
        return "ray"
    return next((name for name, some in TOGETHER.items() if any(Path(module).is_relative_to(s) for s in some)), module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By modules, and not by marks of tests: xdist 3.8 writes those where pytest 9.2 does not look any more."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # the first of a scope is where it is begun
        rank = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(scope_of(item.nodeid.partition("::")[0]), len(rank)))


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
