"""Everything that a source has with a text is there, sample by sample; what is not, is told; a stop spoils nothing."""

import pickle
import shutil

import numpy as np
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.training.material import SAMPLES, TABLE, as_pcm, gather
from tests.training.tones import write_corpus, write_manifest


def silent(text: str) -> None:
    pass


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus", num_recordings=5)


def test_samples_and_texts_are_those_of_the_files(corpus, tmp_path):
    material = gather(str(corpus), tmp_path / "material", ReadConfig(), silent)
    assert len(material) == len(material.texts) == 5
    files = sorted(corpus.parent.glob("*.wav"))
    for number, path in enumerate(files):
        there, _ = soundfile.read(path, dtype="int16")
        np.testing.assert_array_equal(material.audio(number), there)
    assert material.seconds == sum(soundfile.info(path).frames for path in files) / 16_000
    assert all(text == text.lower() and text for text in material.texts)  # as they are: others spell them


def test_what_cannot_be_learnt_from_is_left_out_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        *({"audio_filepath": f"good-{number}.wav", "text": f"good {number}"} for number in range(2)),
        *({"audio_filepath": "mute.wav", "text": text} for text in ("", "  ", None)),
        *({"audio_filepath": name, "text": "AB"} for name in ("blip.wav", "speech.wav", "broken.wav", "absent.wav")),
    ]
    for name, length_s in (("good-0", 1), ("good-1", 20), ("mute", 1), ("blip", 0.1), ("speech", 21)):
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(round(length_s * 16_000)), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound at all")
    material = gather(str(write_manifest(tmp_path, rows)), tmp_path / "material", ReadConfig(), silent)
    assert material.texts == ["good 0", "good 1"]
    assert material.lengths.tolist() == [16_000, 320_000]
    assert sum(material.left_out.values()) == 7
    assert material.left_out["without a text"] == 3
    assert material.left_out["not 0.2 to 20 s long"] == 2
    assert len(material.left_out) == 4  # and why the file is broken, and that one is not there


def test_what_was_gathered_once_is_not_read_again(corpus, tmp_path):
    first = gather(str(corpus), tmp_path / "material", ReadConfig(), silent)
    shutil.rmtree(corpus.parent)
    again = gather(str(corpus), tmp_path / "material", ReadConfig(), silent)
    assert again.texts == first.texts
    np.testing.assert_array_equal(again.audio(4), first.audio(4))


def test_a_stop_half_way_leaves_nothing_that_would_be_taken_for_the_whole(corpus, tmp_path):
    def stop(text: str) -> None:
        if text.startswith("reading"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(str(corpus), tmp_path / "material", ReadConfig(), stop)
    assert (tmp_path / "material" / SAMPLES).exists() and not (tmp_path / "material" / TABLE).exists()
    fewer = write_corpus(corpus.parent, num_recordings=3, seed=1)  # and the source may be mended meanwhile
    stopped = gather(str(fewer), tmp_path / "material", ReadConfig(), silent)
    whole = gather(str(fewer), tmp_path / "other", ReadConfig(), silent)
    assert stopped.texts == whole.texts
    assert (stopped.folder / SAMPLES).read_bytes() == (whole.folder / SAMPLES).read_bytes()


def test_a_corpus_without_texts_is_refused_and_can_be_mended(corpus, tmp_path):
    rows = [{"audio_filepath": f"{number:03}.wav"} for number in range(5)]
    texts = corpus.read_text()
    write_manifest(corpus.parent, rows)
    with pytest.raises(UsageError, match=r"manifest.jsonl: nothing in it to learn from: 5 without a text"):
        gather(str(corpus), tmp_path / "material", ReadConfig(), silent)
    corpus.write_text(texts)
    assert len(gather(str(corpus), tmp_path / "material", ReadConfig(), silent)) == 5


def test_another_process_is_sent_no_samples(corpus, tmp_path):
    material = gather(str(corpus), tmp_path / "material", ReadConfig(), silent)
    expected = material.audio(2).copy()
    sent = pickle.dumps(material)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).audio(2), expected)


def test_sound_beyond_full_scale_is_clipped_and_does_not_wrap():
    loud = np.array([0.0, 1.0, -1.0, 1.5, -7.0, 0.5], np.float32)
    assert as_pcm(loud).tolist() == [0, 32767, -32767, 32767, -32767, 16384]
    pcm = np.array([-32768, 32767], np.int16)
    assert as_pcm(pcm).tolist() == [-32768, 32767]
