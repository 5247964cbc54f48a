"""Texts with a language model, against transformers' pipeline over pyctcdecode and kenlm, where these are installed."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from pipeline.decode.ctcdecoder import BeamSearchDecoderCTC
from pipeline.errors import UsageError
from tests.tasks.checkpoints import LABELS, LENGTHS, Checkpoint, extractor, oracle, ours, recordings, vocabulary

ARPA = """\\data\\
ngram 1=6
ngram 2=3

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.4
-1.2\t</s>\t0
-0.9\tTEA\t-0.3
-1.1\tHAT\t-0.2
-1.3\tSEA\t-0.1

\\2-grams:
-0.3\t<s> TEA
-0.4\tTEA HAT
-0.6\tHAT SEA

\\end\\
"""


@pytest.fixture(scope="session")
def with_lm(speech: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers 4 writes a checkpoint with a language model; of its own, version 5 does not find the decoder."""
    pyctcdecode = pytest.importorskip("pyctcdecode")
    pytest.importorskip("kenlm")
    directory = tmp_path_factory.mktemp("lm")
    (directory / "words.arpa").write_text(ARPA)
    transformers.AutoModelForCTC.from_pretrained(speech("layer")).save_pretrained(directory / "model")
    labels = [{"|": " ", "<pad>": ""}.get(label, label) for label in LABELS]
    decoder = pyctcdecode.build_ctcdecoder(labels, str(directory / "words.arpa"), ["TEA", "HAT", "SEA"])
    tokenizer = transformers.Wav2Vec2CTCTokenizer(vocabulary(directory, LABELS))
    processor = transformers.Wav2Vec2ProcessorWithLM(extractor("layer"), tokenizer, decoder)
    processor.save_pretrained(directory / "model")
    shutil.copytree(directory / "model", directory / "model 5")
    (directory / "model" / "processor_config.json").unlink()
    settings = extractor("layer").to_dict() | {"processor_class": "Wav2Vec2ProcessorWithLM"}
    (directory / "model" / "preprocessor_config.json").write_text(json.dumps(settings))
    return directory / "model"


def test_a_checkpoint_with_a_language_model_decodes_with_it_as_transformers_does(with_lm: Path) -> None:
    """The risk: the language model left aside in silence; times of other words; options that do not arrive."""
    theirs = oracle(with_lm)
    assert theirs.type == "ctc_with_lm"
    compatible = BeamSearchDecoderCTC.load_from_dir(str(with_lm), compat=True)
    mine = ours(with_lm, decoder=compatible)
    some = recordings()[:3]
    few: dict[str, Any] = {"decoder_kwargs": {"beam_width": 3, "hotwords": ["HAT"]}}
    words = {"return_timestamps": "word"}
    for options in (words, words | few, words | few | {"chunk_length_s": 1.0}, few):
        assert mine(some, **options) == [theirs(one.copy(), **options) for one in some]
    by_itself = ours(with_lm)
    assert isinstance(by_itself.decoder, BeamSearchDecoderCTC)
    greedy = ours(with_lm, decoder=None, processor=None, feature_extractor=extractor("layer"), tokenizer=mine.tokenizer)
    assert greedy.decoder is None
    assert by_itself(recordings()[1]) != greedy(recordings()[1])
    for same in (ours(with_lm, decoder=str(with_lm)), ours(with_lm.with_name("model 5"))):
        assert same(recordings()) == by_itself(recordings())


def test_pyctcdecodes_own_decoder_will_do(with_lm: Path) -> None:
    import pyctcdecode

    decoder = pyctcdecode.BeamSearchDecoderCTC.load_from_dir(str(with_lm))
    theirs, some = oracle(with_lm, decoder=decoder), recordings()[2:]
    expected = [theirs(one.copy(), return_timestamps="word") for one in some]
    assert ours(with_lm, decoder=decoder, return_timestamps="word")(some) == expected


def test_with_a_language_model_only_words_have_times(with_lm: Path) -> None:
    with pytest.raises(UsageError, match="'word'"):
        ours(with_lm, return_timestamps="char")
    with pytest.raises(UsageError, match="no decoder: it has no decode_beams"):
        ours(with_lm, decoder=3)
    with pytest.raises(UsageError, match=r"alphabet.json is a file: give a directory with alphabet.json and language"):
        ours(with_lm, decoder=with_lm / "alphabet.json")


def test_what_a_decoder_does_not_take_is_said_before_anything_is_computed(with_lm: Path) -> None:
    """The risk: minutes of a model's work, and then a TypeError."""
    misspelt = {"beam_witdh": 20}
    with pytest.raises(UsageError, match="decoder_kwargs: there is no argument beam_witdh; did you mean beam_width"):
        ours(with_lm, decoder_kwargs=misspelt)
    mine = ours(with_lm)
    for wrong in (misspelt, {"logits": 1}, {"pool": None}):
        with pytest.raises(UsageError, match="decoder_kwargs: there is no argument"):
            mine("/no/such/file.wav", decoder_kwargs=wrong)
    with pytest.raises(UsageError, match="decoder_kwargs is a dictionary of arguments of decode_beams, not 20"):
        mine("/no/such/file.wav", decoder_kwargs=20)


def test_many_recordings_are_searched_at_once_and_a_state_to_begin_with_reaches_the_search_of_one(
    with_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The risks: one thread for all; an option that only the search of one takes dropped, or refused."""
    mine = ours(with_lm)
    calls: list[tuple[str, dict[str, Any]]] = []

    def note(name: str) -> None:
        search = getattr(mine.decoder, name)

        @functools.wraps(search)
        def noted(*given: Any, **options: Any) -> Any:
            calls.append((name, options))
            return search(*given, **options)

        monkeypatch.setattr(mine.decoder, name, noted)

    state = mine.decoder.decode_beams(np.zeros((5, len(LABELS))))[0][1]
    note("decode_beams")
    note("decode_beams_batch")
    mine(recordings(), decoder_kwargs={"beam_width": 3})
    assert calls == [("decode_beams_batch", {"beam_width": 3})]
    calls.clear()
    mine(recordings(), decoder_kwargs={"lm_start_state": state})
    assert calls == [("decode_beams", {"lm_start_state": state})] * len(LENGTHS)
