"""Recordings to texts: against transformers' pipeline on each recording alone; and alone against in company.

It does not know trained models: what is said is not judged here, only that both say the same.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pipeline.errors import UsageError
from pipeline.models import Wav2Vec2ForCTC
from tests.tasks.checkpoints import (
    FAMILIES,
    LABELS,
    LENGTHS,
    Checkpoint,
    extractor,
    oracle,
    ours,
    recording,
    recordings,
    speech_model,
    vocabulary,
)

CHUNKS: list[dict[str, Any]] = [
    {},
    {"chunk_length_s": 1.0},
    {"chunk_length_s": 0.7, "stride_length_s": (0.1, 0.23)},
    {"chunk_length_s": 0.48, "stride_length_s": 0},
]


@pytest.fixture(scope="module")
def made(speech: Checkpoint) -> dict[str, Any]:
    return {family: ours(speech(family)) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_and_times_are_those_of_transformers_on_each_recording_alone_whatever_is_beside_it(
    family: str, speech: Checkpoint
) -> None:
    """The risks: another normalisation, rounding or trimming of chunks; a neighbour or its padding in a recording."""
    theirs, mine = oracle(speech(family)), ours(speech(family))
    chars, words = {"return_timestamps": "char"}, {"return_timestamps": "word"}
    for chunks, wanted in (
        (CHUNKS[0], {}),
        (CHUNKS[0], words),
        *zip(CHUNKS, (chars, chars, words, chars), strict=True),
    ):
        expected = [theirs(one.copy(), **chunks, **wanted) for one in recordings()]
        assert len({answer["text"] for answer in expected}) == len(LENGTHS) and len(expected[1]["text"]) > 30
        assert mine(recordings(), **chunks, **wanted) == expected
        assert [mine(one, **chunks, **wanted) for one in recordings()] == expected


@given(
    family=st.sampled_from(list(FAMILIES)),
    lengths=st.lists(st.integers(720, 20_000), min_size=2, max_size=6),
    batch_size=st.integers(1, 6),
    chunk_length_s=st.sampled_from([None, 0.4]),
)
@settings(max_examples=15)
def test_any_recording_is_heard_alike_in_any_company(
    family: str, lengths: list[int], batch_size: int, chunk_length_s: float | None, made: dict[str, Any]
) -> None:
    """The risk: lengths at which a neighbour's samples, frames or mel rows come into a recording's own."""
    mine, some = made[family], [recording(length) for length in lengths]
    options = {"return_timestamps": "char", "chunk_length_s": chunk_length_s}
    assert mine(some, batch_size=batch_size, **options) == [mine(one, **options) for one in some]


def test_a_row_that_bert_fills_up_with_padding_is_not_decoded(speech: Checkpoint) -> None:
    """The risk that is known of transformers: a last row of which half is padding, masked and decoded all the same."""
    theirs, mine = oracle(speech("bert")), ours(speech("bert"))
    odd = [recording(length + 160) for length in LENGTHS]
    expected = [theirs(one.copy(), return_timestamps="char")["chunks"] for one in odd]
    got = [answer["chunks"] for answer in mine(odd, return_timestamps="char")]
    assert got != expected
    for one, samples in zip(expected, odd, strict=True):
        last = ((len(samples) - 400) // 160 + 1) // 2 * 320 / 16_000  # seconds of the rows that are whole
        one[:] = [chunk for chunk in one if chunk["timestamp"][0] < last]
        one[-1]["timestamp"] = (one[-1]["timestamp"][0], min(one[-1]["timestamp"][1], last))
    assert got == expected


@pytest.mark.parametrize("chunks", CHUNKS[::2])
def test_phones_are_those_of_transformers_and_have_times(chunks: dict[str, Any], speech: Checkpoint) -> None:
    pytest.importorskip("phonemizer")  # of the oracle alone
    theirs, mine = oracle(speech("phonemes")), ours(speech("phonemes"))
    expected = [theirs(one.copy(), return_timestamps="char", **chunks) for one in recordings()]
    assert mine(recordings(), return_timestamps="char", **chunks) == expected
    assert " ɔ̃ " in expected[1]["text"] and {"ɔ̃", "tʃ"} <= {chunk["text"] for chunk in expected[1]["chunks"]}
    with pytest.raises(UsageError, match=r"knows no words.*'char'"):
        mine(recordings(), return_timestamps="word")


def test_what_is_beside_the_samples_in_a_dictionary_comes_back_and_its_stride_is_context_alone(
    speech: Checkpoint,
) -> None:
    theirs, mine = oracle(speech("layer")), ours(speech("layer"))

    def given() -> dict[str, Any]:
        return {"raw": recording(40_000), "sampling_rate": 16_000, "stride": (3_210, 4_400), "partial": False}

    for options in ({}, {"chunk_length_s": 1.0}):
        expected = theirs(given(), return_timestamps="char", **options)
        mapping = given()
        assert mine(mapping, return_timestamps="char", **options) == expected
        assert mapping.keys() == given().keys(), "what the caller gave is his"
    assert theirs(given())["text"] != theirs(recording(40_000))["text"]


def test_a_rows_own_text_does_not_take_the_place_of_what_is_heard(speech: Checkpoint) -> None:
    """The risk: a data set's reference scored against itself, as transformers would have it."""
    mine, sound = ours(speech("layer")), recording(16_000)
    row = {"array": sound, "sampling_rate": 16_000, "text": "the reference", "chunks": "its own", "id": 3}
    for options in ({}, {"return_timestamps": "char"}):
        assert mine(row, **options) == mine(sound, **options) | {"id": [3]}


def test_a_long_recording_is_heard_in_windows_whose_text_is_hardly_another(
    speech: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The risk: attention over hours at once, as transformers has it without chunks; or windows badly joined."""
    mine, long = ours(speech("layer")), recording(125 * 16_000)
    seen: list[int] = []
    transform = mine.model.backbone.transform

    def noted(x: Any, trace: Any = None) -> Any:
        seen.append(x.segments.longest)
        return transform(x, trace)

    monkeypatch.setattr(mine.model.backbone, "transform", noted)
    answer = mine(long, return_timestamps="char")
    assert max(seen) == 60 * 50
    whole = oracle(speech("layer"))(long, return_timestamps="char")
    assert answer["chunks"][-1]["timestamp"][1] == pytest.approx(whole["chunks"][-1]["timestamp"][1], abs=0.1)
    same = {(chunk["text"], chunk["timestamp"]) for chunk in answer["chunks"]}
    same &= {(chunk["text"], chunk["timestamp"]) for chunk in whole["chunks"]}
    assert len(same) > 0.9 * len(whole["chunks"])


def test_another_language_is_spoken_by_the_model_and_its_tokenizer_alike(tmp_path: Path) -> None:
    """The risk: letters of one language for the labels of another, as MMS has a vocabulary for each."""
    speech_model(tmp_path, "layer", adapter_attn_dim=4)
    weights = load_file(tmp_path / "model.safetensors")
    french = {name: 2 * weight for name, weight in weights.items() if "adapter_layer" in name}
    french |= {name: weights[name].flip(0).contiguous() for name in ("lm_head.weight", "lm_head.bias")}
    save_file(french, tmp_path / "adapter.fra.safetensors", {"format": "pt"})
    marks, letters = LABELS[:5], LABELS[5:]
    both = {"eng": [*marks, *letters], "fra": [*marks, *reversed(letters)]}
    numbered = {name: {label: number for number, label in enumerate(labels)} for name, labels in both.items()}
    (tmp_path / "vocab.json").write_text(json.dumps(numbered))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), target_lang="eng")
    transformers.Wav2Vec2Processor(extractor("layer"), tokenizer).save_pretrained(tmp_path)
    options = {"target_lang": "fra", "ignore_mismatched_sizes": True, "torch_dtype": "float32"}
    theirs = oracle(tmp_path, model_kwargs=dict(options))
    expected = [theirs(one.copy(), return_timestamps="char") for one in recordings()]
    assert ours(tmp_path, model_kwargs=options)(recordings(), return_timestamps="char") == expected
    changed = ours(tmp_path, return_timestamps="char")
    assert changed(recordings()) != expected
    changed.tokenizer.set_target_lang("fra")
    changed.model.load_adapter("fra")
    assert changed(recordings()) == expected


# ---- what cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"return_timestamps": True}, "return_timestamps is 'char' or 'word' for a CTC model, not True"),
        ({"return_timestamps": "segment"}, "not 'segment'"),
        ({"return_timestamp": "word"}, "no argument return_timestamp; did you mean return_timestamps"),
        ({"chunk_length_s": 1, "stride_length_s": 0.5}, "leaves nothing between strides of 0.5 and 0.5 s"),
        ({"chunk_length_s": 1, "stride_length_s": -1}, "from 0 on, not -1"),
        ({"chunk_length_s": "10"}, "chunk_length_s is a number of seconds from 0 on, not '10'"),
        ({"decoder_kwargs": {"beam_width": 3}}, "decoder_kwargs are for a decoder, and there is none"),
        ({"generate_kwargs": {"language": "fr"}}, "a CTC model generates no text"),
        ({"return_language": True}, "Whisper"),
        ({"batch_size": 0}, "batch_size is a whole number from 1 on, not 0"),
    ],
)
def test_what_a_model_cannot_do_is_said_when_the_pipeline_is_made_and_when_it_is_called(
    options: dict[str, Any], message: str, speech: Checkpoint
) -> None:
    with pytest.raises(UsageError, match=message):
        ours(speech("group"), **options)
    with pytest.raises(UsageError, match=message):
        ours(speech("group"))(iter(recordings()), **options)


def test_a_recording_that_cannot_be_heard_is_named_and_those_before_it_have_their_text(speech: Checkpoint) -> None:
    """The risk: a list of a thousand with one bad one, and no way to tell which; or answers lost to a batch size."""
    mine = ours(speech("layer"))
    good, short, broken = recording(16_000), recording(300), np.full(16_000, np.nan, np.float32)
    for bad, message in (
        (short, r"inputs\[2\]: shorter than 25 ms \(300 samples\)"),
        (broken, r"inputs\[2\]: samples that are not numbers"),
        ("/no/such.wav", r"inputs\[2\] \(/no/such.wav\): "),
        (0.5, r"inputs\[2\]: a recording is a path.*not float; .*numpy array"),
    ):
        for batch_size in (None, 1, 2, 3, 4):
            answers = mine((one for one in (good, good, bad, good)), batch_size=batch_size)
            assert next(answers) == next(answers) == mine(good)
            with pytest.raises(UsageError, match=message):
                next(answers)
        with pytest.raises(UsageError, match=message):
            mine([good, good, bad])
    with pytest.raises(UsageError, match="the recording: shorter than 25 ms"):
        mine(short)


def test_what_is_too_short_at_the_end_of_chunks_is_left_out(speech: Checkpoint) -> None:
    samples = recording(16_100)
    answer = ours(speech("layer"), chunk_length_s=0.5, stride_length_s=0)(samples)
    assert answer == oracle(speech("layer"))(samples[:16_000], chunk_length_s=0.5, stride_length_s=0)


def test_an_iterator_is_asked_for_no_more_than_is_needed(speech: Checkpoint) -> None:
    mine, taken = ours(speech("layer")), []

    def source() -> Any:
        for one in recordings():
            taken.append(len(one))
            yield one

    for batch_size, ahead in ((None, 1), (1, 1), (2, 2), (4, 4)):
        taken.clear()
        answers = mine(source(), batch_size=batch_size)
        assert not taken
        next(answers)
        assert len(taken) == ahead
        assert len(list(answers)) == len(LENGTHS) - 1


@pytest.mark.parametrize("several", [list, iter])
def test_no_more_is_held_at_once_than_fills_the_device_whatever_the_batch_size(
    several: Any, speech: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The risk: the samples of a whole corpus in memory, for a list without a batch size or for one that is large."""
    mine, seconds = ours(speech("layer")), []
    answers = mine.answers

    def noted(heard: Any, options: Any) -> Any:
        seconds.append(sum(len(one.audio) for one in heard) / 16_000)
        return answers(heard, options)

    monkeypatch.setattr(mine, "answers", noted)
    monkeypatch.setattr(mine, "at_once_s", 2.0)
    sizes = (None, 1_000) if several is list else (1_000,)
    for size in sizes:
        seconds.clear()
        assert len(list(mine(several([recording(16_000)] * 7), batch_size=size))) == 7
        assert seconds == [2, 2, 2, 1]


def test_a_tokenizer_of_fewer_tokens_than_the_model_has_outputs_is_refused(speech: Checkpoint, tmp_path: Path) -> None:
    tokenizer = transformers.Wav2Vec2CTCTokenizer(vocabulary(tmp_path, LABELS[:-2]))
    with pytest.raises(UsageError, match=f"the model has {len(LABELS)} outputs, but its tokenizer knows"):
        ours(speech("layer"), tokenizer=tokenizer)


def test_parts_that_are_given_count_before_the_checkpoints(speech: Checkpoint, tmp_path: Path) -> None:
    """The risk: a tokenizer or an extractor that is given and not used."""
    model = Wav2Vec2ForCTC.from_pretrained(speech("layer"))
    expected = ours(speech("layer"))(recordings())
    assert ours(model)(recordings()) == expected
    lower = tuple(label.lower() for label in LABELS)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(vocabulary(tmp_path, lower))
    texts = [answer["text"] for answer in ours(model, tokenizer=tokenizer)(recordings())]
    assert texts == [answer["text"].lower() for answer in expected] != [answer["text"] for answer in expected]
    plain = transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    theirs = oracle(speech("layer"), feature_extractor=plain)
    loud = [100 * one for one in recordings()]
    answers = ours(model, feature_extractor=plain)(loud)
    assert answers == [theirs(one) for one in loud]
    assert answers != expected
    transformers.Wav2Vec2Processor(plain, tokenizer).save_pretrained(tmp_path / "processor")
    answers = ours(model, processor=tmp_path / "processor")(loud)
    assert answers == ours(model, tokenizer=tokenizer, feature_extractor=plain)(loud)
    made_in_code = Wav2Vec2ForCTC(model.config).eval()
    with pytest.raises(UsageError, match="made in code: give its feature_extractor too"):
        ours(made_in_code)
