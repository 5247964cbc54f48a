"""Memory over a run: a recording of two hours among many of half a second, and no process that grows with either."""

import contextlib
import json
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import corpora
from tests.faults.runs import ON_RAY, command, rows, started
from tests.faults.victims import descendants

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow]

NUM_SMALL, LONG_S = 3000, 7200
KINDS = {  # what a title holds -> what that process is, and the most it may take
    "jobs": ("driver", 650),
    "pipeline.read.child": ("audio decoder", 200),
    "ray::MapWorker": ("actor", 1600),
    "ray::": ("worker", 1000),
}


def peaks_of(run: "subprocess.Popen[bytes]") -> dict[str, int]:
    """The most memory in MB that any process of each kind ever had."""
    peaks: dict[str, int] = defaultdict(int)
    while run.poll() is None:
        for process in [run.pid, *descendants(run.pid)]:
            with contextlib.suppress(OSError, ValueError, StopIteration):
                title = Path(f"/proc/{process}/cmdline").read_text()
                status = Path(f"/proc/{process}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
                kind = next(kind for sign, (kind, _) in KINDS.items() if sign in title)
                peaks[kind] = max(peaks[kind], peak // 1024)
        time.sleep(0.2)
    return dict(peaks)


@pytest.mark.timeout(900)
def test_one_long_recording_and_many_small_ones_take_bounded_memory(sample, tmp_path, ray_folder, record_property):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    small = corpora.encoded(corpora.clips()[0].samples[: corpora.RATE // 2])
    for number in range(NUM_SMALL):
        (corpus / f"{number:05d}.flac").write_bytes(small)
    minute = np.concatenate([clip.samples for clip in corpora.clips()])
    soundfile.write(corpus / "long.flac", np.resize(minute, LONG_S * corpora.RATE), corpora.RATE)
    argv = command(corpus, tmp_path / "out", sample / "model", *ON_RAY)
    run = started(argv, tmp_path / "log", ray_folder)
    peaks = peaks_of(run)
    record_property("peak memory in MB", json.dumps(peaks))
    assert run.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert {row["error"] for row in found.values()} == {None}
    assert len(found) == NUM_SMALL + 1
    assert found["long.flac"]["duration_s"] == LONG_S
    assert len({row["text"] for name, row in found.items() if name != "long.flac"}) == 1
    for kind, most in KINDS.values():
        assert peaks[kind] <= most, kind
