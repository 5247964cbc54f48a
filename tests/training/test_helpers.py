"""Processes that learn along change how long a step takes, and nothing of what is learnt where norms are of a frame."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import StageError, UsageError
from pipeline.training.batches import Batch, batch_of
from pipeline.training.learner import Learner
from tests.training.test_learner import batches, learner_of  # noqa: F401

BATCH_STEP = 50


@pytest.fixture(autouse=True, scope="module")
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in learner.model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-bert"])
def test_gradients_are_those_of_one_process(family, batches):  # noqa: F811
    """But for rounding: of products in bf16, sums over rows are rounded once in each process."""
    alone, helped, batch = learner_of(family), learner_of(family), batches[BATCH_STEP]
    assert len(batch.num_samples) > 3
    expected_loss = alone.learn(batch)
    with helped.helped(2):
        assert torch.get_num_threads() == 1
        assert helped.learn(batch) == pytest.approx(expected_loss, rel=1e-3)
    assert torch.get_num_threads() == 2
    found, expected = gradients_of(helped), gradients_of(alone)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 0.02 * gradient.norm() + 1e-6, name


def test_weights_that_a_step_has_changed_are_those_that_helpers_have_for_the_next(batches):  # noqa: F811
    helped, alone = learner_of("wav2vec2"), learner_of("wav2vec2")
    with helped.helped(1):
        for step in range(5):
            helped.learn(batches[step])
        alone.model.load_state_dict(helped.model.state_dict())
        assert helped.learn(batches[BATCH_STEP]) == pytest.approx(alone.learn(batches[BATCH_STEP]), rel=1e-3)


def test_of_norms_over_batches_only_one_process_gathers(batches):  # noqa: F811
    """Two that wrote into one memory would leave what neither has seen."""
    helped, alone = learner_of("wav2vec2-conformer"), learner_of("wav2vec2-conformer")
    batch = batches[BATCH_STEP]
    with helped.helped(1):
        helped.learn(batch)
    alone.learn(batch.shared_out(2)[0])
    expected = dict(alone.model.named_buffers())
    assert expected
    for name, gathered in helped.model.named_buffers():
        torch.testing.assert_close(gathered, expected[name], rtol=1e-4, atol=1e-5)


def test_more_helpers_than_recordings(batches):  # noqa: F811
    sound = torch.cat(list(batches[0].samples.split(batches[0].num_samples))[:1]).numpy()
    helped, alone = learner_of("wav2vec2"), learner_of("wav2vec2")
    batch = batch_of([sound], [np.array([5, 6])])
    with helped.helped(2):
        assert helped.learn(batch) == pytest.approx(alone.learn(batch), rel=1e-4)


def test_a_fault_of_a_helper_is_told_and_the_answers_of_others_are_not_taken_for_later_ones(batches):  # noqa: F811
    helped, alone, batch = learner_of("wav2vec2"), learner_of("wav2vec2"), batches[BATCH_STEP]
    _, other, good = batch.shared_out(3)
    odd = Batch(other.samples, other.num_samples, other.labels[:1], other.num_labels)
    with helped.helped(2):
        helped._helpers.begin([odd, good], len(batch.labels))
        with pytest.raises(StageError, match=r"learning failed: .*target"):
            helped._helpers.finish()
        assert helped.learn(batch) == pytest.approx(alone.learn(batch), rel=1e-3)


def test_a_helper_that_is_killed_ends_the_training(batches):  # noqa: F811
    helped, before = learner_of("wav2vec2"), {process.pid for process in multiprocessing.active_children()}
    with helped.helped(1):
        helped.learn(batches[0])
        (child,) = {process for process in multiprocessing.active_children() if process.pid not in before}
        child.kill()
        child.join()
        with pytest.raises(StageError, match="a process that helps to learn ended"):
            helped.learn(batches[1])
    assert {process.pid for process in multiprocessing.active_children()} <= before


def test_helpers_end_with_the_one_that_they_help(tmp_path):
    """Killed, it can tell nobody."""
    script = (
        "import multiprocessing, time\n"
        "from tests.training.test_learner import learner_of\n"
        "if __name__ == '__main__':\n"
        "    with learner_of('wav2vec2').helped(1):\n"
        "        print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "        time.sleep(600)\n"
    )
    path = tmp_path / "leader.py"
    path.write_text(script)
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    leader = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True, env=there)
    assert leader.stdout is not None
    try:
        helper = int(leader.stdout.readline())
    finally:
        leader.kill()
        leader.wait()
        leader.stdout.close()
    deadline = time.monotonic() + 60
    while is_alive(helper) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(helper)


def is_alive(process: int) -> bool:
    """Not one that has ended and that nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_memory_that_cannot_be_shared_is_said_so(batches, monkeypatch):  # noqa: F811
    def full(gradients):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)\nException raised from")

    helped, before = learner_of("wav2vec2"), torch.get_num_threads()
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UsageError, match=r"No space left on device \(28\)\): give --processes 1"), helped.helped(1):
        pass
    assert torch.get_num_threads() == before
    assert np.isfinite(helped.learn(batches[0]))
