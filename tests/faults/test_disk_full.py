"""An output disk that fills up or goes read-only half-way: the run stops with one clear line, and can be resumed.

The disk is a small one in memory, mounted where nobody but the run sees it, which needs no root where users may have
name spaces of their own.
"""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import corpora
from tests.faults.runs import HERE, ON_RAY, calm, check_nothing_else_is_left, command, rows

pytestmark = pytest.mark.faults

NO_MOUNTS = 77
# $1: the folder of the test; then the command. What happened is left on a real disk, where the test can see it.
PREPARE = f"""
folder=$1; shift; disk=$folder/disk
mount -t tmpfs -o size=$SIZE tmpfs "$disk" || exit {NO_MOUNTS}
"""
FULL = """
"$@" >"$folder/out" 2>"$folder/err"; echo $? >"$folder/code"
ls "$disk/run/commits" | wc -l >"$folder/commits"
mount -o remount,size=64m "$disk"
"""
READ_ONLY = """
"$@" >"$folder/out" 2>"$folder/err" & run=$!
until [ "$(ls "$disk/run/commits" 2>/dev/null | wc -l)" -ge 3 ]; do sleep 0.02; done
# A run that stands still meanwhile does not end before; a disk on which a file is being written stays as it is.
until kill -STOP $run && mount -o remount,ro "$disk" 2>/dev/null; do kill -CONT $run; sleep 0.01; done
kill -CONT $run
wait $run; echo $? >"$folder/code"
ls "$disk/run/commits" | wc -l >"$folder/commits"
mount -o remount,rw "$disk"
"""
RESUME = """
"$@" >"$folder/resumed" 2>&1; echo $? >"$folder/resumed-code"
cp -r "$disk/run" "$folder/kept"
"""


class Stopped(NamedTuple):
    code: str
    err: str
    num_commits: int


def stop_and_resume(what_happens: str, size: str, argv: list[str], folder: Path) -> Stopped:
    """The run stopped by the disk, then the same command again on a disk that is well; its output is in `kept`."""
    (folder / "disk").mkdir()
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", PREPARE + what_happens + RESUME, "sh", str(folder)]
    done = subprocess.run([*alone, *argv], env=os.environ | {"SIZE": size}, capture_output=True, text=True)
    if done.returncode == NO_MOUNTS or "unshare" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    told = {name: (folder / name).read_text() for name in ("code", "err", "commits", "resumed-code", "resumed")}
    assert told["resumed-code"].strip() == "0", told["resumed"]
    return Stopped(told["code"].strip(), told["err"], int(told["commits"]))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpora.write("parquet", tmp_path_factory.mktemp("disk") / "corpus", corpora.clips())


@pytest.fixture(scope="module")
def expected(corpus: Path, sample: Path):
    calm(command(corpus, corpus.parent / "calm", sample / "model", "--set", "read.unit_s=1", *HERE))
    return rows(corpus.parent / "calm")


@pytest.mark.parametrize(
    "address",
    [pytest.param(HERE, id="here"), pytest.param(ON_RAY, id="ray", marks=[pytest.mark.ray, pytest.mark.slow])],
)
@pytest.mark.parametrize(
    ("what_happens", "size", "says"),
    [
        pytest.param(FULL, "250k", "No space left on device", id="full"),
        pytest.param(READ_ONLY, "64m", "Read-only file system", id="read-only"),
    ],
)
def test_a_disk_that_takes_no_more_stops_the_run_and_the_same_command_goes_on(
    what_happens, size, says, address, corpus, expected, sample, tmp_path
):
    argv = command(corpus, tmp_path / "disk" / "run", sample / "model", "--set", "read.unit_s=1", *address)
    stopped = stop_and_resume(what_happens, size, argv, tmp_path)
    assert 0 < stopped.num_commits < len(expected)
    assert stopped.code == "1", stopped.err
    assert says in stopped.err.splitlines()[-1]
    assert stopped.err.splitlines()[-1].endswith("what is committed is kept, and the same command goes on")
    assert "Traceback" not in stopped.err
    assert rows(tmp_path / "kept") == expected
    check_nothing_else_is_left(tmp_path / "kept")
