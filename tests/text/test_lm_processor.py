"""The processor with a language model: transformers' results in compat mode, and what ours puts right."""

import inspect
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.ctcdecoder import BeamSearchDecoderCTC, build_ctcdecoder
from pipeline.decode.options import LmWeights
from pipeline.errors import UsageError
from pipeline.text import AutoProcessor, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ProcessorWithLM
from tests.decode import problems

LABELS = problems.LETTERS
TEXTS = ("OPEN THE FILE", "I SEE A BUG", "THE SYSTEM IS OPEN ")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # of transformers and pyctcdecode
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary and a language model."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(LABELS)}))
    problems.write_small_arpa(folder / "three.arpa", np.random.default_rng(3), 3)
    return folder


def ours_of(place: Path, **options: Any) -> Wav2Vec2ProcessorWithLM:
    decoder = build_ctcdecoder(LABELS, str(place / "three.arpa"), problems.WORDS, **options)
    return Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(place / "vocab.json"), decoder)


@pytest.fixture
def ours(place: Path) -> Wav2Vec2ProcessorWithLM:
    return ours_of(place)


@pytest.fixture(scope="module")
def saved(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that transformers wrote, with pyctcdecode's decoder."""
    pyctcdecode, _ = pytest.importorskip("pyctcdecode"), pytest.importorskip("kenlm")
    import transformers as theirs

    folder = tmp_path_factory.mktemp("saved")
    decoder = pyctcdecode.build_ctcdecoder(list(LABELS), str(place / "three.arpa"), problems.WORDS, alpha=0.7)
    tokenizer = theirs.Wav2Vec2CTCTokenizer(str(place / "vocab.json"))
    theirs.Wav2Vec2ProcessorWithLM(theirs.Wav2Vec2FeatureExtractor(), tokenizer, decoder).save_pretrained(folder)
    return folder


@pytest.fixture
def theirs(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return loaded_by_transformers(saved, monkeypatch)


def loaded_by_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Decoding in this process: it would fork one for each CPU."""
    import transformers
    from transformers.models.wav2vec2_with_lm import processing_wav2vec2_with_lm as module

    monkeypatch.setattr(module, "get_start_method", lambda: "spawn")
    return transformers.Wav2Vec2ProcessorWithLM.from_pretrained(folder)


def spelt(text: str, seed: int = 0) -> Any:
    return problems.spell(np.random.default_rng(seed), LABELS, text)


def padded(many: list[Any], filled: float = -100.0) -> Any:
    batch = np.full((len(many), max(map(len, many)) + 3, len(LABELS)), filled, np.float32)
    for row, logits in zip(batch, many, strict=True):
        row[: len(logits)] = logits
    return batch


# --- the same as transformers and pyctcdecode -------------------------------------------------------------------------

CALLS: list[dict[str, Any]] = [
    {},
    {"output_word_offsets": True},
    {"n_best": 4, "output_word_offsets": True},
    {"n_best": 1000, "beam_width": 12},
    {"hotwords": ["BUG", "FILES"], "hotword_weight": 6.5, "n_best": 3},
    {"alpha": 1.3, "beta": 0.2, "n_best": 2, "output_word_offsets": True},
    {"unk_score_offset": -2.5, "lm_score_boundary": False, "n_best": 2, "beam_width": 30},
    {"beam_width": 5, "beam_prune_logp": -4.0, "token_min_logp": -2.0, "n_best": 5},
]


@pytest.mark.parametrize("options", CALLS, ids=str)
def test_compat_results_are_transformers_to_the_bit(theirs: Any, saved: Path, options: dict[str, Any]) -> None:
    """Of a directory that it wrote: text, both scores and word offsets, one by one and as a batch."""
    ours = Wav2Vec2ProcessorWithLM.from_pretrained(saved, compat=True)
    many = [spelt(text, seed) for seed, text in enumerate((*TEXTS, "XYLOPHONE"))]
    for logits in many:
        found, expected = ours.decode(logits, **options), theirs.decode(logits, **options)
        assert dict(found.items()) == dict(expected), options
    for batch in (padded(many), many):
        found, expected = ours.batch_decode(batch, **options), theirs.batch_decode(batch, **options)
        assert dict(found.items()) == dict(expected), options


def test_compat_results_of_noise_are_transformers_too(theirs: Any, saved: Path) -> None:
    """Weights stay from call to call, as they do there: the calls are made in one order on one processor."""
    ours = Wav2Vec2ProcessorWithLM.from_pretrained(saved, compat=True)
    rng = np.random.default_rng(7)
    for options in (*CALLS[2:6], {"n_best": 3}):
        logits = problems.random_emissions(rng, int(rng.integers(1, 30)), len(LABELS), float(rng.uniform(1, 5)))
        assert dict(ours.decode(logits, **options).items()) == dict(theirs.decode(logits, **options)), options
    assert ours.language_model.alpha == theirs.language_model.alpha == 1.3


def test_every_call_of_transformers_can_be_made() -> None:
    """By position or by name: a parameter in another place would be taken for another."""
    transformers = pytest.importorskip("transformers")
    for name in ("decode", "batch_decode"):
        expected = inspect.signature(getattr(transformers.Wav2Vec2ProcessorWithLM, name)).parameters
        found = inspect.signature(getattr(Wav2Vec2ProcessorWithLM, name)).parameters
        by_position = [one for one in found.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
        assert [one.name for one in by_position] == list(expected)
        assert [one.default for one in by_position] == [one.default for one in expected.values()]


def test_transformers_reads_what_we_save(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyctcdecode"), pytest.importorskip("kenlm")
    ours = ours_of(place, alpha=0.9, beta=0.4, unk_score_offset=-6.0, lm_score_boundary=False, compat=True)
    ours.save_pretrained(tmp_path / "decoder")
    theirs = loaded_by_transformers(tmp_path / "decoder", monkeypatch)
    for text in TEXTS:
        expected = theirs.decode(spelt(text), n_best=3, output_word_offsets=True)
        assert dict(ours.decode(spelt(text), n_best=3, output_word_offsets=True).items()) == dict(expected)
    audio = np.random.default_rng(0).normal(0, 0.1, 1600).astype(np.float32)
    found = ours(audio, text="A BUG", sampling_rate=16000)
    expected = theirs(audio, text="A BUG", sampling_rate=16000)
    np.testing.assert_allclose(found.input_values[0], expected.input_values[0], atol=1e-5)
    assert found.labels == expected.labels


# --- files ------------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_loaded(place: Path, tmp_path: Path) -> None:
    first = ours_of(place, alpha=0.9, beta=0.4, unk_score_offset=-6.0, lm_score_boundary=False)
    first.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is Wav2Vec2ProcessorWithLM
    assert again.decoder.language_models[0].weights == LmWeights(0.9, 0.4, -6.0, False)
    assert again.decode(spelt(TEXTS[0]), n_best=3) == first.decode(spelt(TEXTS[0]), n_best=3)
    told = AutoProcessor.from_pretrained(tmp_path, alpha=0.1, score_boundary=True, do_normalize=False)
    assert told.decoder.language_models[0].weights == LmWeights(0.1, 0.4, -6.0, True)
    assert told.feature_extractor.do_normalize is False
    url = AutoProcessor.from_pretrained(f"file://{tmp_path}")
    assert url.decode(spelt(TEXTS[0])).text == first.decode(spelt(TEXTS[0])).text


def test_a_decoder_without_a_language_model_is_saved_and_loaded(place: Path, tmp_path: Path) -> None:
    """pyctcdecode writes such a directory and then refuses it for the files beside it."""
    tokenizer = Wav2Vec2CTCTokenizer(place / "vocab.json")
    first = Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), tokenizer, build_ctcdecoder(LABELS))
    first.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.decode(spelt("A BUG", 4), alpha=3.0) == first.decode(spelt("A BUG", 4))
    with pytest.raises(UsageError, match="no language model"):
        _ = again.language_model
    (tmp_path / "langauge_model").mkdir()
    with pytest.raises(UsageError, match="langauge_model, but no language_model/"):
        AutoProcessor.from_pretrained(tmp_path)


def test_processors_travel_to_other_processes(ours: Wav2Vec2ProcessorWithLM) -> None:
    ours.language_model.alpha = 0.25
    again = pickle.loads(pickle.dumps(ours))
    assert again.language_model.alpha == 0.25
    assert again.decode(spelt(TEXTS[0])) == ours.decode(spelt(TEXTS[0]))


# --- whether tokenizer and decoder belong together --------------------------------------------------------------------


def with_labels(place: Path, labels: tuple[str, ...], build: bool = True) -> Wav2Vec2ProcessorWithLM:
    decoder = BeamSearchDecoderCTC(Alphabet.build(labels) if build else Alphabet(labels, False))
    return Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(place / "vocab.json"), decoder)


def test_tokens_that_the_decoder_lacks_are_named(place: Path) -> None:
    lower = tuple(label.lower() for label in LABELS)
    with pytest.raises(
        UsageError, match=r"alphabet lacks 'E', 'T', 'A'.*: build the decoder of the tokenizer's tokens"
    ):
        with_labels(place, lower)
    with pytest.raises(UsageError, match="alphabet lacks 'Z' of the tokenizer"):
        with_labels(place, LABELS[:-1])
    decoder = build_ctcdecoder([label for label in LABELS if label not in "QZ"])
    tokenizer = Wav2Vec2CTCTokenizer(place / "vocab.json")
    assert Wav2Vec2ProcessorWithLM.get_missing_alphabet_tokens(decoder, tokenizer) == {"Q", "Z"}
    pytest.importorskip("pyctcdecode")
    import pyctcdecode
    import transformers

    theirs = pyctcdecode.build_ctcdecoder(list(decoder.alphabet.labels))
    found = transformers.Wav2Vec2ProcessorWithLM.get_missing_alphabet_tokens(theirs, tokenizer)
    assert found == {"Q", "Z"}


def test_labels_in_another_order_are_refused(place: Path) -> None:
    """All are there, so transformers takes them, and writes other letters than the model heard."""
    swapped = list(LABELS)
    swapped[5], swapped[6] = swapped[6], swapped[5]
    with pytest.raises(UsageError, match=r"column 5 .* is 'E' to the tokenizer, .* should be 'E', and is 'T'"):
        with_labels(place, tuple(swapped))
    blank_last = ("<blank>", *LABELS[1:])  # which pyctcdecode does not know for a blank
    with pytest.raises(UsageError, match=r"column 0 .* is '<pad>' to the tokenizer, .* should be '', and is '<blank>'"):
        with_labels(place, blank_last)


def test_sentence_marks_beyond_the_labels_do_no_harm(tmp_path: Path) -> None:
    """A tokenizer adds them where a vocabulary has none; the model cannot say them."""
    labels = ("<pad>", "<unk>", "|", *"ABC")
    (tmp_path / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(labels)}))
    tokenizer = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    assert tokenizer.get_vocab()["</s>"] >= len(labels)
    processor = Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), tokenizer, build_ctcdecoder(labels))
    logits = np.full((3, 6), -9.0)
    logits[[0, 1, 2], [3, 0, 3]] = 9
    assert processor.decode(logits).text == "AA"


def test_pyctcdecodes_own_decoder_is_refused(place: Path) -> None:
    pyctcdecode = pytest.importorskip("pyctcdecode")
    tokenizer, decoder = Wav2Vec2CTCTokenizer(place / "vocab.json"), pyctcdecode.build_ctcdecoder(list(LABELS))
    with pytest.raises(
        UsageError, match=r"pyctcdecode\.decoder\.\w+: make one with pipeline\.decode\.ctcdecoder\.build"
    ):
        Wav2Vec2ProcessorWithLM(Wav2Vec2FeatureExtractor(), tokenizer, decoder)


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_a_recording_is_the_same_alone_and_among_others(ours: Wav2Vec2ProcessorWithLM) -> None:
    many = [spelt(text, seed) for seed, text in enumerate(TEXTS)]
    options: dict[str, Any] = {"n_best": 3, "output_word_offsets": True, "hotwords": ["BUG"]}
    alone = [ours.decode(logits, **options) for logits in many]
    assert [output.text[0] for output in alone] != ["", "", ""]
    for batch in (many, padded(many), torch.from_numpy(padded(many)), [torch.from_numpy(logits) for logits in many]):
        for num_processes in (None, 1, 3):
            found = ours.batch_decode(batch, num_processes=num_processes, **options)
            for name in ("text", "logit_score", "lm_score", "word_offsets"):
                assert found[name] == [output[name] for output in alone], name
    nothing = ours.batch_decode([], **options)
    assert nothing.text == nothing.logit_score == nothing.word_offsets == []


def test_no_process_is_started(ours: Wav2Vec2ProcessorWithLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork of a process with threads can hang, and a pool that is passed need not be one."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    many = [spelt(text) for text in TEXTS]
    assert ours.batch_decode(many, object(), 2).text == [ours.decode(logits).text for logits in many]


def test_padded_frames_are_never_decoded(ours: Wav2Vec2ProcessorWithLM) -> None:
    """Neither those that are filled with -100 nor those beyond the lengths, whatever a model says of them."""
    many = [spelt("A BUG", 1), spelt("THE FILE SYSTEM", 2)]
    plain = ours.batch_decode(many, output_word_offsets=True)
    lengths = [len(logits) for logits in many]
    heard = padded(many, filled=0.0)
    heard[:, :, LABELS.index("B")] += np.where(np.arange(heard.shape[1])[None] >= np.array(lengths)[:, None], 9.0, 0.0)
    assert ours.batch_decode(heard, output_word_offsets=True) != plain
    for given in (lengths, np.array(lengths), torch.tensor(lengths)):
        assert ours.batch_decode(heard, output_word_offsets=True, lengths=given) == plain
    assert ours.batch_decode(padded(many), output_word_offsets=True) == plain
    assert ours.decode(padded(many)[0]).text == plain.text[0]
    assert ours.decode(padded(many)[0][-2:]).text == ""


def test_a_frame_is_not_padding_for_one_value(ours: Wav2Vec2ProcessorWithLM) -> None:
    """Log-probabilities may well be cut off at -100; transformers drops every frame in which one is."""
    logits = spelt(TEXTS[0])
    expected = ours.batch_decode([logits]).text
    logits[:, LABELS.index("Z")] = -100.0
    assert ours.batch_decode([logits]).text == expected != [""]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_float_are_read(ours: Wav2Vec2ProcessorWithLM, dtype: torch.dtype) -> None:
    logits = torch.from_numpy(spelt(TEXTS[0])).to(dtype).requires_grad_()
    expected = ours.decode(logits.detach().double().numpy(), n_best=2)
    found = ours.decode(logits, n_best=2)
    assert found.text == expected.text and found.lm_score == pytest.approx(expected.lm_score, abs=1e-3)
    assert ours.batch_decode(logits[None], n_best=2).text == [expected.text]


def test_weights_stay_and_can_be_set(ours: Wav2Vec2ProcessorWithLM) -> None:
    logits = spelt(TEXTS[0])
    plain = ours.decode(logits).lm_score
    told = ours.decode(logits, alpha=2.0, beta=0.0, unk_score_offset=-1.0, lm_score_boundary=False).lm_score
    assert told != plain and ours.decode(logits).lm_score == told
    model = ours.language_model
    assert (model.alpha, model.beta, model.unk_score_offset, model.score_boundary) == (2.0, 0.0, -1.0, False)
    assert model.order == 3
    model.alpha, model.beta, model.unk_score_offset, model.score_boundary = 0.5, 1.5, -10.0, True
    assert ours.decode(logits).lm_score == plain
    assert replace(ours.decoder.language_models[0].weights) == LmWeights()


def test_weights_of_a_batch_count_from_its_first_call_on(place: Path) -> None:
    many = [spelt(text) for text in TEXTS]
    expected = ours_of(place, alpha=2.0, beta=-1.0, unk_score_offset=-1.0, lm_score_boundary=False).batch_decode(many)
    weights = {"alpha": 2.0, "beta": -1.0, "unk_score_offset": -1.0, "lm_score_boundary": False}
    processor = ours_of(place)
    assert processor.batch_decode(many, **weights) == expected == processor.batch_decode(many)
    assert expected.lm_score != ours_of(place).batch_decode(many).lm_score


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"n_best": 2.0}, "n_best is a whole number, not 2.0"),
        ({"n_best": "2"}, "n_best is a whole number, not '2'"),
        ({"beam_width": 100.0}, "beam_width is a whole number, not 100.0"),
        ({"beam_width": [100]}, "beam_width is a whole number"),
        ({"beam_prune_logp": "-10"}, "beam_prune_logp is a number, not '-10'"),
        ({"token_min_logp": np.array([-5.0, -4.0])}, "token_min_logp is a number"),
        ({"hotwords": [1]}, "hotwords are words, and one is 1"),
        ({"hotwords": 5}, "hotwords are a list of words, not 5"),
        ({"hotwords": ["BUG"], "hotword_weight": "10"}, "hotword_weight is a number, not '10'"),
        ({"alpha": "1"}, "alpha is a number, not '1'"),
        ({"beta": [1.5]}, "beta is a number"),
        ({"unk_score_offset": "low"}, "unk_score_offset is a number, not 'low'"),
        ({"lm_score_boundary": "no"}, "lm_score_boundary is True or False, not 'no'"),
    ],
)
def test_arguments_of_another_type_are_named(ours: Wav2Vec2ProcessorWithLM, options: dict[str, Any], told: str) -> None:
    """Before anything is searched, or compiled for what it cannot be; both errors are those that code may catch."""
    for call, logits in ((ours.decode, spelt("A BUG")), (ours.batch_decode, [spelt("A BUG")])):
        with pytest.raises(UsageError, match=told) as error:
            call(logits, **options)
        assert isinstance(error.value, ValueError)


def test_numbers_of_any_library_are_numbers(ours: Wav2Vec2ProcessorWithLM) -> None:
    logits = spelt("A BUG")
    expected = ours.decode(logits, beam_width=20, beam_prune_logp=-8, n_best=2, alpha=1, lm_score_boundary=True)
    found = ours.decode(
        logits,
        beam_width=np.int32(20),
        beam_prune_logp=np.float32(-8),
        n_best=torch.tensor(2),
        alpha=torch.tensor(1.0),
        lm_score_boundary=np.bool_(True),
    )
    assert found == expected
    assert ours.batch_decode([logits], num_processes=np.int64(1), lengths=iter([len(logits)])).text == [
        expected.text[0]
    ]


def test_threads_and_lengths_of_another_type_are_named(ours: Wav2Vec2ProcessorWithLM) -> None:
    logits = spelt("A BUG")
    with pytest.raises(UsageError, match=r"num_processes is a whole number, not 1\.5"):
        ours.batch_decode([logits], num_processes=1.5)
    with pytest.raises(UsageError, match="lengths are whole numbers"):
        ours.batch_decode([logits], lengths=[3.7])
    with pytest.raises(UsageError, match="logits are an array, a tensor, or a list of these, not None"):
        ours.batch_decode(None)
    with pytest.raises(UsageError, match=r"the logits: they are of .*, not numbers"):
        ours.decode([["a"] * len(LABELS)])
    with pytest.raises(UsageError, match="threads is a whole number"):
        ours.decoder.decode_batch(None, [logits], threads="2")


def test_outputs_are_read_by_name_by_key_and_by_place(ours: Wav2Vec2ProcessorWithLM) -> None:
    output = ours.decode(spelt("THE FILE"))
    assert output[0] == output["text"] == output.text and output[1] == output.logit_score
    assert list(output) == ["text", "logit_score", "lm_score"] and output.word_offsets is None
    offsets: Any = ours.decode(spelt("THE FILE"), output_word_offsets=True).word_offsets
    assert [one["word"] for one in offsets] == output.text.split()
    assert all(0 <= one["start_offset"] < one["end_offset"] <= len(spelt("THE FILE")) for one in offsets)


def test_what_is_wrong_is_said_and_where(ours: Wav2Vec2ProcessorWithLM) -> None:
    good, bad = spelt("A BUG"), spelt("A BUG")
    bad[2, 3] = np.nan
    cases: list[tuple[str, Any, str]] = [
        ("batch_decode", ([good, bad, good],), r"logits 2 of 3: NaN or infinity"),
        ("decode", (bad,), r"the logits: NaN or infinity"),
        ("batch_decode", ([good, good[:, :5]],), r"logits 2 of 2: .* 5 columns but the alphabet 32 labels"),
        ("batch_decode", ([good, good[0]],), r"logits 2 of 2: the shape is \(32,\)"),
        ("batch_decode", (good,), r"the shape \(\d+, 32\): batch_decode takes .*; decode takes one"),
        ("decode", (padded([good, good]),), r"of 2 recordings: batch_decode takes these"),
    ]
    for method, given, message in cases:
        with pytest.raises(UsageError, match=message):
            getattr(ours, method)(*given)
    for lengths, message in (([1], "1 lengths, and logits of 2"), ([1, 999], "logits 2 of 2: the length is 999")):
        with pytest.raises(UsageError, match=message):
            ours.batch_decode([good, good], lengths=lengths)
    with pytest.raises(UsageError, match="n_best must be at least 1, not 0"):
        ours.decode(good, n_best=0)
    with pytest.raises(UsageError, match="hotwords are a list of words"):
        ours.decode(good, hotwords="BUG")


def test_a_second_language_model_is_not_written_beside_the_first(place: Path, tmp_path: Path) -> None:
    """Nor is anything else changed there then."""
    ours = ours_of(place)
    ours.save_pretrained(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ours.feature_extractor.do_normalize = False
    with pytest.raises(UsageError, match="is not empty"):
        ours.save_pretrained(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "language_model")
    ours.save_pretrained(tmp_path)
    assert AutoProcessor.from_pretrained(tmp_path).feature_extractor.do_normalize is False
