"""SIGKILL of the whole process group at random moments, until the run completes: nothing lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.demo.sample import write_corpus
from pipeline.run import find
from pipeline.write import read_parts

MIN_KILLS = 20
MAX_STARTS = 60  # bounds the test where a run makes no progress


def command(sample: Path, corpus: Path, out: Path, address: str) -> list[str]:
    return [
        *(sys.executable, "-m", "jobs", "transcribe", str(corpus / "manifest.jsonl"), str(out)),
        *("--model", str(sample / "model"), "--address", address, "--set", "read.unit_s=2", "--keep-emissions"),
    ]


def num_commits(out: Path) -> int:
    return len(list((out / "commits").glob("*.json"))) if (out / "commits").is_dir() else 0


def start_and_kill(argv: list[str], out: Path, rng: random.Random, log: Path) -> int | None:
    """Start the run and kill it at some moment; its exit code if it was faster.

    Half of the moments lie anywhere in the first seconds, half shortly after one more unit was committed, so that
    starting, listing, writing and committing are all hit and the run still gets on.
    """
    after_commits = num_commits(out) + rng.randint(0, 2) if rng.random() < 0.5 else None
    delay_s = rng.uniform(0, 0.1) if after_commits is not None else rng.uniform(0.2, 12)
    with log.open("ab") as file:
        process = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if after_commits is None or num_commits(out) > after_commits:
                time.sleep(delay_s)
                break
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return None if code == -signal.SIGKILL else code


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(sample, tmp_path):
    write_corpus(tmp_path / "corpus", num_recordings=34)
    calm, out, log = tmp_path / "calm", tmp_path / "out", tmp_path / "log"
    subprocess.run(command(sample, tmp_path / "corpus", calm, "here"), check=True, capture_output=True)
    rng = random.Random(20260101)
    num_kills, code = 0, None
    for _ in range(MAX_STARTS):
        code = start_and_kill(command(sample, tmp_path / "corpus", out, "local"), out, rng, log)
        if code is not None:
            break
        num_kills += 1
    assert code == 0, log.read_text()[-4000:]
    assert num_kills >= MIN_KILLS
    expected = read_parts(find(str(calm))).to_pylist()
    assert read_parts(find(str(out))).sort_by("id").to_pylist() == sorted(expected, key=lambda row: row["id"])
    commits = find(str(out)).commits().values()
    assert {path.name for path in (out / "data").iterdir()} == {commit.part for commit in commits}
    assert {path.name for path in (out / "emissions").iterdir()} == {commit.emissions.name for commit in commits}
