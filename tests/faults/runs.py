"""Runs as somebody at a shell starts them, and what they leave.

Knows nothing of what goes wrong in between.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs.__main__ import main
from pipeline.run import find
from pipeline.store import Folder
from pipeline.write import read_parts


def command(source: Path | str, out: Path | str, model: Path, *arguments: str) -> list[str]:
    return [*(sys.executable, "-m", "jobs", "transcribe", str(source), str(out), "--model", str(model)), *arguments]


ON_RAY = ("--address", "local", "--set", "run.cpus=2")
HERE = ("--address", "here")


def calm(argv: list[str]) -> None:
    """An undisturbed run, in this process, which has imported everything."""
    assert main(argv[argv.index("transcribe") :]) == 0


def started(argv: list[str], log: Path, ray_folder: Path | None = None) -> "subprocess.Popen[bytes]":
    """A run of a process group of its own."""
    environment = os.environ | ({"RAY_TMPDIR": str(ray_folder)} if ray_folder else {})
    with log.open("ab") as file:
        return subprocess.Popen(argv, stdout=file, stderr=file, env=environment, start_new_session=True)


def num_commits(out: Path | str) -> int:
    return len([name for name in Folder(str(out)).sub("commits").names() if not name.startswith(".")])


def rows(out: Path | str) -> list[dict[str, Any]]:
    return sorted(read_parts(find(str(out))).to_pylist(), key=lambda row: str(row["id"]))


def check_nothing_else_is_left(out: Path | str) -> None:
    """Any reader of Parquet sees each recording once."""
    commits, folder = find(str(out)).commits().values(), Folder(str(out))
    assert set(folder.sub("data").names()) == {commit.part for commit in commits}
    assert set(folder.sub("emissions").names()) == {commit.emissions.name for commit in commits if commit.emissions}
