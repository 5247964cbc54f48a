"""Files that are no language model, or no longer one: named with what to do, never read beyond their end."""

import gzip
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.lm.kenlm_header import CHECKED
from pipeline.lm.model import LanguageModel

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = ("probing", "trie", "quantised", "array", "quantised-array")
ORDER, TYPE, TABLES, FIRST_COUNT = len(CHECKED), len(CHECKED) + 8, len(CHECKED) + 16, len(CHECKED) + 20


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))


def patched(at: int, new: bytes, name: str = "order3.probing") -> bytes:
    content = (FIXTURES / name).read_bytes()
    return content[:at] + new + content[at + len(new) :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\n\n", "neither a KenLM binary nor an ARPA file"),
        (b"<!DOCTYPE html><html>404", "a web page"),
        (b"PK\x03\x04 archive", "a zip archive: unpack it"),
        (b"BZh91AY", "compressed by bzip2: decompress it"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of git-lfs"),
        (b"blmt 3", "an IRSTLM binary"),
        (b"\x7fELF\x02\x01" + bytes(500), "it begins with b'\\\\x7fELF"),
        (gzip.compress(b"hello", mtime=0), "neither a KenLM binary nor an ARPA file; it begins with b'hello'"),
        (gzip.compress(b"\\data\\\n" * 9999, mtime=0)[:-30], "gzip stream is damaged"),
        (b"\x1f\x8b" + bytes(30), "gzip stream is damaged"),
        (
            gzip.compress((FIXTURES / "order2.trie").read_bytes(), mtime=0),
            "gzipped KenLM binary, which cannot be mapped: gunzip",
        ),
        (b"mmap lm http://kheafield.com/code incomplete\n" + bytes(500), "did not finish writing it"),
        (
            patched(0, b"mmap lm http://kheafield.com/code format version 4"),
            "format version 4, this program reads version 5",
        ),
        (CHECKED[:40], "ends within its header"),
        (CHECKED, "ends within its header"),
        (patched(60, struct.pack("<f", 1.0)[::-1]), "built for another kind of machine"),
        (patched(len(CHECKED) - 8, struct.pack(">Q", 1)), "built for another kind of machine"),
        (patched(TYPE, struct.pack("<I", 1)), "rest costs are not read"),
        (patched(TYPE, struct.pack("<I", 7)), "model type 7"),
        (patched(TABLES, struct.pack("<I", 3)), "model type 0 version 3"),
        (patched(ORDER, b"\x07"), "order 7"),
        (patched(ORDER, b"\x01"), "order 1"),
        (patched(ORDER + 4, struct.pack("<f", np.nan)), "multiplier nan"),
        (patched(FIRST_COUNT, struct.pack("<Q", 1 << 60)), "cut short"),
        (patched(FIRST_COUNT, struct.pack("<Q", 5000)), "asks for at least"),
        (patched(136, struct.pack("<I", 1)), "vocabulary is damaged"),
        (patched(136 + 4, struct.pack("<I", 1 << 30)), "vocabulary is damaged"),
    ],
)
def test_files_that_are_no_model_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "my-model"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        LanguageModel.open(str(path))
    assert str(path) in str(raised.value)
    assert not list((tmp_path / "cache").rglob("*binary"))


def test_places_that_are_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        LanguageModel.open(str(tmp_path / "missing.bin"))
    with pytest.raises(UsageError, match="a directory; give the file in it"):
        LanguageModel.open(str(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        LanguageModel.open("memory://nowhere/model.bin")


@pytest.mark.parametrize("name", [f"order3.{kind}" for kind in FORMATS])
def test_a_binary_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / "cut"
    for length in range(1, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(UsageError):
            LanguageModel.open(str(path)).words()


@pytest.mark.parametrize("name", [f"order6.{kind}" for kind in FORMATS])
def test_damaged_tables_never_lead_out_of_the_file(name: str, tmp_path: Path) -> None:
    """Random bytes in place of tables: any score will do, a crash or an endless search will not."""
    content = np.frombuffer((FIXTURES / name).read_bytes(), np.uint8).copy()
    path = tmp_path / "damaged"
    rng = np.random.default_rng(0)
    for start in (1500, 2500, 3500, len(content) // 2):
        content[start : len(content) - 900] = rng.integers(0, 256, len(content) - 900 - start)
        path.write_bytes(content.tobytes())
        with suppress(UsageError):  # some damage is seen
            model = LanguageModel.open(str(path))
            for _ in range(30):
                model.score(" ".join(rng.choice(["the", "lamp", "harbour", "train", "night", "zz"], 20)))


def test_quantisation_of_another_version_is_refused(tmp_path: Path) -> None:
    words = struct.unpack_from("<Q", (FIXTURES / "order3.quantised").read_bytes(), FIRST_COUNT)[0]
    quantisation = 136 + 8 + 8 * words
    for at, new, message in [
        (0, b"\x01", "version 1 of quantisation"),
        (1, b"\x00", "0 and 4 bits"),
        (2, b"\x63", "99"),
    ]:
        path = tmp_path / "changed"
        path.write_bytes(patched(quantisation + at, new, "order3.quantised"))
        with pytest.raises(UsageError, match=message):
            LanguageModel.open(str(path))
