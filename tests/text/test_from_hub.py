"""What calls say of the hub: all that is read from a checkpoint follows, lets pass and refuses the same."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.decode.ctcdecoder import build_ctcdecoder
from pipeline.errors import UsageError
from pipeline.text import (
    AutoProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    Wav2Vec2ProcessorWithLM,
)
from tests.text.vocabularies import MARKS, Hostile, numbered

READERS = (
    Wav2Vec2FeatureExtractor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2Processor,
    Wav2Vec2ProcessorWithLM,
    AutoProcessor,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    made(folder).save_pretrained(folder / "saved")
    return folder / "saved"


def made(folder: Path) -> Wav2Vec2ProcessorWithLM:
    labels = numbered(*MARKS, "A", "B")
    tokenizer = Wav2Vec2CTCTokenizer(Hostile("", labels).file(folder))
    return Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), tokenizer, build_ctcdecoder(list(labels)))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"use_auth_token": "hf_SECRET"}, "use_auth_token is not supported: give token"),
        ({"subfolder": "processor"}, "subfolder is not supported"),
        ({"trust_remote_code": True}, "trust_remote_code is not supported: no code of a checkpoint is ever run"),
    ],
)
def test_what_would_be_ignored_at_a_cost_is_refused(
    reader: Any, option: dict[str, Any], told: str, checkpoint: Path
) -> None:
    """A secret of the hub, above all, is no token of a vocabulary: it was saved as one."""
    with pytest.raises(UsageError, match=told) as refused:
        reader.from_pretrained(checkpoint, **option)
    assert "hf_SECRET" not in str(refused.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("reader", READERS)
def test_what_does_no_harm_passes_and_is_not_saved(reader: Any, checkpoint: Path, tmp_path: Path) -> None:
    harmless = {"force_download": True, "proxies": {"http": "x"}, "resume_download": True, "use_fast": True}
    hub = {"token": "hf_SECRET", "local_files_only": True, "revision": "main", "cache_dir": str(tmp_path / "cache")}
    off = {"use_auth_token": None, "subfolder": "", "trust_remote_code": False}
    read = reader.from_pretrained(checkpoint, **harmless, **hub, **off)
    read.save_pretrained(tmp_path / "again", push_to_hub=False)
    for file in (tmp_path / "again").rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert not [name for name in (*harmless, *hub, *off, "hf_SECRET") if f'"{name}"' in text]


@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_pushed(reader: Any, checkpoint: Path, tmp_path: Path) -> None:
    """And nothing is written, where it is asked for."""
    read = reader.from_pretrained(checkpoint)
    with pytest.raises(UsageError, match="push_to_hub is not supported"):
        read.save_pretrained(tmp_path / "pushed", push_to_hub=True)
    assert not (tmp_path / "pushed").exists()


@pytest.mark.parametrize("reader", READERS[1:])
def test_the_old_format_is_the_only_one(reader: Any, checkpoint: Path, tmp_path: Path) -> None:
    reader.from_pretrained(checkpoint).save_pretrained(tmp_path, legacy_format=True)
    assert (tmp_path / "vocab.json").exists()
