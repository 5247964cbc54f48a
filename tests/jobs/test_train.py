"""`nightshift train` as it is typed: killed in any way it goes on, says what is wrong in a line, and gives a model."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from jobs.__main__ import main
from pipeline.training import train as training
from tests.training.tones import small_shapes, write_corpus

ROOT = Path(__file__).parents[2]
FLAGS = ["--steps", "24", "--batch-s", "4", "--learning-rate", "0.004"]
# The real command, with a small model, that saves its state after each step; at one it waits until it is killed.
PROGRAM = """
import sys
import time
import pytest
from jobs.__main__ import command
from pipeline.training import train
from tests.training.tones import small_shapes

if __name__ == "__main__":
    small_shapes(pytest.MonkeyPatch())
    train.SAVED_EVERY_S, train.TRIAL_EVERY = -1.0, 4
    last, trial = int(sys.argv.pop()), train.Training.trial
    def trial_and_wait(training):
        trial(training)
        time.sleep(10_000 if training._learner.step == last else 0)
    train.Training.trial = trial_and_wait
    command()
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in the other processes; batches are made here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    small_shapes(monkeypatch)
    monkeypatch.setattr(training, "loaded", lambda batches, first, end: (batches[step] for step in range(first, end)))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), num_recordings=12)


@contextlib.contextmanager
def started(corpus: Path, out: Path, last: int) -> Iterator[subprocess.Popen[str]]:
    """In a group of processes of its own, as a shell starts it. It does not go on after the last of these steps."""
    command = [sys.executable, "-c", PROGRAM, "train", str(corpus), str(out), *FLAGS, str(last)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_past(step: int, out: Path) -> bool:
    """Whether the trial after so many steps has been held."""
    log = out / "training" / "log.jsonl"
    return log.exists() and f'"step": {step},' in log.read_text()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not true():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_killed_in_any_way_it_ends_as_if_never_stopped(corpus, tmp_path, small, capsys):
    """To the last bit: nothing is learnt twice, or forgotten. Once by the signal that ends a whole group of processes,
    which the process that makes batches must outlive; once by one that nobody can answer."""
    out = tmp_path / "killed"
    with started(corpus, out, last=8) as process:
        wait_until(lambda: is_past(4, out), process)
        os.killpg(process.pid, signal.SIGTERM)
        stderr = process.communicate()[1]
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("nightshift: interrupted; ") and "Traceback" not in stderr
    with started(corpus, out, last=20) as process:
        wait_until(lambda: is_past(12, out), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert main(["train", str(corpus), str(out), *FLAGS]) == 0
    stdout, stderr = capsys.readouterr()
    assert "going on from step" in stderr and stdout.startswith(f"{out}: ") and "WER" in stdout
    assert main(["train", str(corpus), str(tmp_path / "straight"), *FLAGS]) == 0
    killed, straight = (path / "model.safetensors" for path in (out, tmp_path / "straight"))
    assert killed.read_bytes() == straight.read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_it_in_a_line(corpus, tmp_path):
    with started(corpus, tmp_path, last=8) as process:
        wait_until(lambda: is_past(4, tmp_path), process)
        os.killpg(process.pid, signal.SIGINT)
        stderr = process.communicate()[1]
    assert process.returncode == 1
    assert stderr.splitlines()[-1].startswith("nightshift: interrupted; ") and "Traceback" not in stderr


def test_json_tells_where_and_how_well(corpus, tmp_path, small, capsys):
    flags = ["--steps", "1", "--batch-s", "2", "--half", "--no-augment", "--set", "read.limit=5", "--json"]
    assert main(["train", str(corpus), str(tmp_path), *flags]) == 0
    stdout, stderr = capsys.readouterr()
    told = json.loads(stdout)
    assert told["output"] == str(tmp_path) and told["cer"] > 0
    assert "in 5 recordings, 1 held out" in stderr
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"


def test_what_was_trained_transcribes(corpus, tmp_path, small, capsys):
    assert main(["train", str(corpus), str(tmp_path), "--steps", "2", "--batch-s", "2"]) == 0
    capsys.readouterr()
    assert main(["transcribe", str(corpus.parent / "000.wav"), "--model", str(tmp_path), "--json"]) == 0
    assert "text" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--steps", "0"], "steps of a training must be above zero"),
        (["--batch-s", "inf"], "batch_s of a training"),
        (["--learning-rate", "nan"], "learning_rate of a training"),
        (["--seed", "-1"], "seed of a training"),
        (["--set", "decode.beam_width=3"], "decode.beam_width=3: a training heeds the keys of [read] alone"),
        (["--set", "read.limits=3"], "read.limits"),
    ],
)
def test_wrong_flags_are_refused_before_anything_is_written(flags, told, corpus, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", str(corpus), str(out), *flags]) == 2
    stderr = capsys.readouterr().err
    assert told in stderr and "Traceback" not in stderr
    assert not out.exists()


def test_overwrite_starts_afresh_and_a_mistake_in_a_flag_deletes_nothing(corpus, tmp_path, small, capsys):
    flags = [str(corpus), str(tmp_path), "--steps", "1", "--batch-s", "2"]
    assert main(["train", *flags]) == 0
    assert main(["train", *flags, "--seed", "5"]) == 2
    assert "seed was 0, is 5" in capsys.readouterr().err
    before = (tmp_path / "model.safetensors").read_bytes()
    assert main(["train", *flags, "--seed", "-5", "--overwrite"]) == 2
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert main(["train", *flags, "--seed", "5", "--overwrite"]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() != before


def test_a_place_that_cannot_be_written_to_is_named(corpus, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["train", str(corpus), str(tmp_path / "file"), "--steps", "1"]) == 2
    stderr = capsys.readouterr().err
    assert str(tmp_path / "file") in stderr and "Not a directory" in stderr and "Traceback" not in stderr


def test_help_tells_the_defaults_and_no_flag_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--set read.source=KIND" in told and "that --source" not in told
    assert told.count("default: ") >= 5
