"""A Ray cluster to run on: one of our own on this machine for as long as the run takes, or one that is there.

Knows nothing of the run; sets what Ray Data must be told so that a long night neither hangs nor is given up.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator

from pipeline.config import RunConfig
from pipeline.errors import UsageError
from pipeline.resources import Node

CONNECT_TIMEOUT_S = 10.0


@contextlib.contextmanager
def ray_session(config: RunConfig) -> Iterator[list[Node]]:
    """Connected to `run.address` inside the block; gives the nodes. A session that is already open is used as it is."""
    import ray

    started = not ray.is_initialized()
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints on stdout what befalls its workers, until the very end
        if started:
            _start(config)
        try:
            _set_up_ray_data()
            alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
            yield [Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0))) for resources in alive]
        finally:
            if started:
                ray.shutdown()


def _start(config: RunConfig) -> None:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else every actor that may restart warns about it
    os.environ.setdefault("RAY_task_oom_retries", "1")  # else a task that eats the memory is started for ever
    import ray

    local = config.cluster == "local"
    if ":" in config.cluster:
        _check_reachable(config.cluster)
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        with _quiet_stderr():  # the core announces that setting, too
            ray.init(
                address=config.cluster,
                num_cpus=config.cpus if local else None,
                include_dashboard=False if local else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, ImportError) as error:
        raise UsageError(f"no Ray cluster at {config.cluster} (run.address): {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray sets its own, which ends the driver with a stack dump


def _check_reachable(address: str) -> None:
    """Ray itself goes on trying for minutes, warning all the while."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Ray cluster at {address} (run.address): {error}") from error


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what native code writes to stderr, and show it only where the block fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _set_up_ray_data() -> None:
    import ray.data
    from ray.util.annotations import RayDeprecationWarning

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a unit that is lost is found by its missing commit; faults of ours are raised
    context.execution_no_progress_timeout_s = -1  # slow is not dead: a unit may take hours on a busy machine
    context.enable_progress_bars = False  # they count blocks; ours count hours
    context.print_on_execution_start = False
    context.target_max_block_size = None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it logs a trace for every block it drops
    # max_restarts and its kin have no named successor before Ray 2.64, which pyproject.toml excludes.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray\.data")  # advice on sizes that are ours to set
