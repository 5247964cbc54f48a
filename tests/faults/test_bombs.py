"""Small files that would unpack to much: each meets a limit that is an option, and the failure names it."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.config import Config, EncodeConfig, ReadConfig, RunConfig
from pipeline.drive import drive
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import find
from pipeline.write import read_parts

RATE = 16_000
AUDIBLE = np.sin(np.arange(RATE) / 20).astype(np.float32) / 2


def rows_of(corpus: Path, sample: Path, out: Path, **limits: object) -> dict[str, dict[str, object]]:
    config = Config(ReadConfig(**limits), EncodeConfig(model=str(sample / "model")), run=RunConfig(address="here"))
    with Progress(config.run.log_every_s) as progress:
        result = drive(Request(str(corpus), str(out), config), progress)
    assert result.complete
    return {row["id"]: row for row in read_parts(find(str(out))).to_pylist()}


def silence(path: Path, hours: float) -> None:
    block = np.zeros(RATE * 600, np.int16)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="FLAC") as file:
        for _ in range(round(hours * 6)):
            file.write(block)


def flac_that_claims(path: Path, num_samples: int) -> None:
    soundfile.write(path, AUDIBLE, RATE)
    data = bytearray(path.read_bytes())
    # The last 36 of the 64 bits that begin 10 bytes into STREAMINFO, which begins after "fLaC" and 4 more.
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | num_samples
    data[18:26] = field.to_bytes(8, "big")
    path.write_bytes(data)


def wav_of_rate(path: Path, rate: int) -> None:
    soundfile.write(path, AUDIBLE, RATE)
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)


def tar_of(path: Path, members: int, mode: str = "w", size: int = 0) -> None:
    with tarfile.open(path, mode) as tar:
        for number in range(members):
            member = tarfile.TarInfo(f"{number:07d}.flac")
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))


def test_audio_that_claims_or_holds_too_much_fails_by_the_name_of_its_limit(sample: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "good.flac", AUDIBLE, RATE)
    silence(corpus / "silence.flac", hours=0.5)
    flac_that_claims(corpus / "claim.flac", 2**36 - 1)  # 256 GiB as floats
    wav_of_rate(corpus / "rate.wav", 1_092_676)
    soundfile.write(corpus / "channels.wav", np.zeros((100, 100), np.float32), RATE)
    rows = rows_of(corpus, sample, tmp_path / "out", max_duration_s=900.0)
    errors = {name: row["error"] for name, row in rows.items()}
    assert errors.pop("good.flac") is None
    assert {name: error[error.index("(") :] for name, error in errors.items()} == {
        "silence.flac": "(read.max_duration_s)",
        "claim.flac": "(read.max_duration_s)",
        "rate.wav": "(read.max_rate_hz)",
        "channels.wav": "(read.max_channels)",
    }


def test_audio_that_needs_too_much_memory_or_time_fails_by_the_name_of_its_limit(sample: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    silence(corpus / "silence.flac", hours=4)
    (row,) = rows_of(corpus, sample, tmp_path / "out", decode_timeout_s=0.05).values()
    assert row["error"].endswith("(read.decode_timeout_s)")


def test_an_archive_of_too_many_members_is_listed_up_to_the_limit(sample: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    tar_of(corpus / "many.tar", members=300)
    rows = rows_of(corpus, sample, tmp_path / "out", max_members=100)
    (limited,) = [row for row in rows.values() if "read.max_members" in str(row["error"])]
    assert limited["uri"].endswith("many.tar")
    assert len(rows) <= 101


def test_compressed_archives_and_manifests_are_unpacked_up_to_the_limit(sample: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    tar_of(corpus / "bomb.tar.gz", members=1, mode="w:gz", size=200 * 2**20)
    tar_of(corpus / "fine.tar.gz", members=1, mode="w:gz")
    rows = rows_of(corpus, sample, tmp_path / "out", max_unpacked_gb=0.01)
    told = {row["uri"].rpartition("/")[2]: row["error"] for row in rows.values()}
    assert told["fine.tar.gz"] == "read: empty file"
    assert told["bomb.tar.gz"].endswith("(read.max_unpacked_gb)")
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write(bytes([32]) * 2**20)
    with pytest.raises(UsageError, match=r"read\.max_unpacked_gb"):
        rows_of(tmp_path / "bomb.jsonl.gz", sample, tmp_path / "out2", max_unpacked_gb=0.01)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_the_big_bombs(sample: Path, tmp_path: Path) -> None:
    """24 hours of silence, and a tar of a million members, at the limits that hold where nothing is set."""
    audio, shards = tmp_path / "audio", tmp_path / "shards"
    audio.mkdir()
    shards.mkdir()
    silence(audio / "day.flac", hours=24)
    (row,) = rows_of(audio, sample, tmp_path / "out").values()
    assert row["error"] == "read: longer than 14400 s (read.max_duration_s)"
    tar_of(shards / "million.tar", members=1_000_000)
    rows = rows_of(shards, sample, tmp_path / "out2")
    assert sum("read.max_members" in str(row["error"]) for row in rows.values()) == 1
