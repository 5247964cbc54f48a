"""Every shape that a recording is given in: the same samples, or a message that names what is wrong."""

import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers.pipelines.automatic_speech_recognition import _to_mono

from pipeline.errors import UsageError
from pipeline.tasks.inputs import hear, is_one
from tests.tasks.checkpoints import Samples, recording


@pytest.fixture
def sound() -> Samples:
    """Such that 16-bit files hold it exactly."""
    samples: Samples = np.round(recording(16_000) * 3_000).clip(-32_768, 32_767).astype(np.float32) / 32_768
    return samples


@pytest.fixture
def file(sound: Samples, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "one.flac", sound, 16_000, subtype="PCM_16")
    return tmp_path / "one.flac"


@pytest.fixture
def url(file: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{file.name}"
    server.shutdown()
    server.server_close()


Given = Callable[[Samples, Path], Any]
KINDS: dict[str, Given] = {
    "path": lambda sound, file: str(file),
    "path object": lambda sound, file: file,
    "local URL": lambda sound, file: file.as_uri(),
    "bytes": lambda sound, file: file.read_bytes(),
    "buffer": lambda sound, file: memoryview(file.read_bytes()),
    "open file": lambda sound, file: io.BytesIO(file.read_bytes()),
    "float32": lambda sound, file: sound,
    "float64": lambda sound, file: sound.astype(np.float64),
    "int16": lambda sound, file: (sound * 2**15).astype(np.int16),
    "int32": lambda sound, file: (sound.astype(np.float64) * 2**31).astype(np.int32),
    "read-only": lambda sound, file: np.broadcast_to(sound, sound.shape),
    "backwards": lambda sound, file: sound[::-1].copy()[::-1],
    "one channel": lambda sound, file: sound[None],
    "two channels": lambda sound, file: np.stack([2 * sound, 0 * sound]),
    "two channels of 16 bits": lambda sound, file: np.stack([(sound * 2**15).astype(np.int16)] * 2),
    "tensor": lambda sound, file: torch.from_numpy(sound).requires_grad_(),
    "array": lambda sound, file: {"array": sound, "sampling_rate": 16_000, "path": "one.flac"},
    "raw": lambda sound, file: {"raw": torch.from_numpy(sound), "sampling_rate": 16_000.0},
    "numbers in a list": lambda sound, file: {"array": sound.tolist(), "sampling_rate": np.int64(16_000)},
    "row": lambda sound, file: {"text": "yes", "audio": {"array": sound, "sampling_rate": 16_000}},
    "row of bytes": lambda sound, file: {"audio": {"bytes": file.read_bytes(), "path": "one.flac"}},
    "row of a path": lambda sound, file: {"audio": {"bytes": None, "path": str(file)}},
    "torchcodec": lambda sound, file: SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(sound)[None], sample_rate=16_000)
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_recording_is_given_as_its_samples_are_the_same(kind: str, sound: Samples, file: Path) -> None:
    given = KINDS[kind](sound, file)
    assert is_one(given)
    heard = hear(given, "inputs[3]")
    assert heard.audio.dtype == np.float32 and heard.audio.shape == sound.shape
    torch.from_numpy(heard.audio)  # which refuses what lies backwards, and warns of what is read-only
    assert np.abs(heard.audio - sound).max() == 0
    assert not heard.rest and heard.stride is None


def test_a_file_that_is_open_is_read_from_where_it_is_and_stays_open(file: Path, sound: Samples) -> None:
    """The risk: a caller's file detached or closed under him, as its `detach` looks like a tensor's."""
    with file.open("rb") as opened:
        assert is_one(opened)
        assert np.array_equal(hear(opened, "").audio, sound)
        opened.seek(0)
        assert opened.read() == file.read_bytes()
    with file.open(encoding="latin-1") as opened, pytest.raises(UsageError, match=r"^inputs\[0\]: a file of text"):
        hear(opened, "inputs[0]")


def test_a_url_is_read_and_one_that_is_not_there_is_named_without_its_query(url: str, sound: Samples) -> None:
    assert np.array_equal(hear(url, "inputs[0]").audio, sound)
    with pytest.raises(UsageError, match=r"inputs\[0\] \(http://.*/none.flac\): ") as error:
        hear(url.replace("one", "none") + "?signature=secret", "inputs[0]")
    assert "secret" not in str(error.value)


def test_other_rates_are_resampled_alike_from_files_and_from_arrays(tmp_path: Path) -> None:
    """The risk: a file and its samples that give two texts."""
    sound = recording(22_050) / 8
    soundfile.write(tmp_path / "one.wav", sound, 22_050, subtype="FLOAT")
    of_file = hear(tmp_path / "one.wav", "").audio
    of_array = hear({"array": sound, "sampling_rate": 22_050}, "").audio
    assert of_file.shape == of_array.shape == (16_000,)
    assert np.abs(of_file - of_array).max() < 1e-6
    stride = hear({"raw": sound, "sampling_rate": 22_050, "stride": (2_205, 11_025)}, "").stride
    assert stride == (1_600, 8_000)


def test_channels_of_arrays_are_mixed_or_refused_as_transformers_does(sound: Samples, tmp_path: Path) -> None:
    for shape in ((1, 2_000), (2, 2_000), (3, 2_000), (2_000, 2), (2_000, 1), (2, 2, 2_000)):
        samples = np.resize(sound, shape)
        try:
            expected = _to_mono(samples)
        except ValueError:
            with pytest.raises(UsageError, match=r"inputs\[1\]: an array of shape \("):
                hear(samples, "inputs[1]")
        else:
            assert np.array_equal(hear(samples, "inputs[1]").audio, expected)
        if shape[0] > 1:
            with pytest.raises(UsageError, match=r"where \(samples,\) is wanted"):
                hear(samples, "inputs[1]", max_channels=1)
    soundfile.write(tmp_path / "four.wav", np.stack([sound] * 4, axis=1), 16_000)
    assert np.allclose(hear(tmp_path / "four.wav", "", max_channels=1).audio, sound, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "empty file"),
        (b"not a sound" * 100, "not audio"),
        ("/no/such/file.wav", r"\(/no/such/file.wav\): missing file"),
        ("/", r"\(/\): a folder, not a file"),
        (3, "a recording is a path.*, not int; .*numpy array"),
        ([0.5], "not list; .*numpy array"),
        (None, "not NoneType$"),
        (np.zeros(16_000, np.int64), "floats from -1 to 1, int16 or int32, not int64"),
        (np.zeros(16_000, np.uint8), "not uint8"),
        (np.zeros(16_000, np.complex64), "not complex64"),
        (np.array(["a"]), "not <U1"),
        ({"array": np.zeros(16_000)}, "needs 'array' or 'raw', and 'sampling_rate'; it has array"),
        ({"raw": None, "sampling_rate": 16_000}, "needs 'array' or 'raw'"),
        ({"array": np.zeros(16_000), "sampling_rate": 0}, "number of Hz from 1000 on, not 0"),
        ({"array": np.zeros(16_000), "sampling_rate": "16k"}, "not '16k'"),
        ({"array": np.zeros(16_000), "sampling_rate": float("nan")}, "not nan"),
        ({"samples": np.zeros(16_000)}, "'audio'; it has samples"),
        ({}, "it has nothing"),
        ({"array": [[0.1], [0.1, 0.2]], "sampling_rate": 16_000}, "not object"),
        (io.StringIO("a sound"), "a file of text, not of bytes; open it with mode='rb'"),
        ({"raw": np.zeros(99), "sampling_rate": 16_000, "stride": (50, 50)}, r"stride of \(50, 50\) is too large"),
        ({"raw": np.zeros(99), "sampling_rate": 16_000, "stride": (-1, 0)}, "two numbers of samples from 0 on"),
        *(
            ({"raw": np.zeros(99), "sampling_rate": 16_000, "stride": stride}, "a stride is two numbers of samples")
            for stride in (5, (1, 2, 3), "55", (0, float("nan")), (0, float("inf")), (None, 1), ((1,), (2, 3)))
        ),
    ],
)
def test_what_is_no_recording_is_named_and_told_why(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^inputs\[7\].*{message}"):
        hear(given, "inputs[7]")


def test_a_file_that_was_cut_short_is_heard_and_said_to_be(tmp_path: Path) -> None:
    whole = io.BytesIO()
    soundfile.write(whole, recording(32_000) / 8, 16_000, format="WAV")
    (tmp_path / "cut.wav").write_bytes(whole.getvalue()[:32_044])
    with pytest.warns(UserWarning, match=r"cut.wav\): it ends before its header says"):
        assert len(hear(tmp_path / "cut.wav", "inputs[0]").audio) == 16_000


@pytest.mark.parametrize("several", [[], (), iter([]), (x for x in "ab"), range(3), SimpleNamespace(a=1)])
def test_several_are_told_from_one(several: Any) -> None:
    assert is_one(several) == isinstance(several, SimpleNamespace)
