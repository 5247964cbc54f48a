"""Our Wav2Vec2FeatureExtractor against transformers' own: what it makes of audio, and the files of either."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.text import Wav2Vec2FeatureExtractor

RATE = 16_000
TOLERANCE = {"float32": 2e-6, "float64": 2e-6, "int16": 2e-6, "float16": 1e-2}  # theirs computes in fp16 what is fp16


def audio(lengths: list[int], dtype: str = "float32") -> list[Any]:
    random = np.random.default_rng(0)
    scale = 1000 if dtype == "int16" else 1
    return [((random.normal(size=length) + 0.5) * scale).astype(dtype) for length in lengths]


def assert_close(ours: Any, theirs: Any, tolerance: float = 2e-6) -> None:
    assert sorted(ours) == sorted(theirs)
    for name in theirs:
        assert len(ours[name]) == len(theirs[name])
        for one, other in zip(ours[name], theirs[name], strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=tolerance, rtol=tolerance)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    dtype=st.sampled_from(list(TOLERANCE)),
    own=st.fixed_dictionaries(
        {
            "do_normalize": st.booleans(),
            "return_attention_mask": st.booleans(),
            "padding_value": st.sampled_from([0.0, -1.5]),
            "padding_side": st.sampled_from(["right", "left"]),
        }
    ),
    options=st.fixed_dictionaries(
        {
            "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
            "max_length": st.none() | st.integers(1, 50),
            "truncation": st.booleans(),
            "pad_to_multiple_of": st.none() | st.integers(1, 16),
            "return_attention_mask": st.none() | st.booleans(),
            "return_tensors": st.sampled_from([None, "np", "pt"]),
        }
    ),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # theirs, where fp16 ends
def test_every_option_gives_what_transformers_gives(
    lengths: list[int], dtype: str, own: dict[str, Any], options: dict[str, Any]
) -> None:
    """The risk: statistics over padding, or not over it; masks, lengths and values of another shape or kind."""
    asked = options["return_attention_mask"]
    masked = own["return_attention_mask"] if asked is None else asked
    assume(not (own["padding_side"] == "left" and masked and own["do_normalize"]))  # corrected, and tested below
    if dtype == "int16":
        own["padding_value"] = 0.0  # theirs rounds it to a whole number
    ours, theirs = Wav2Vec2FeatureExtractor(**own), transformers.Wav2Vec2FeatureExtractor(**own)
    speech = audio(lengths, dtype)
    try:
        expected = theirs(list(speech), sampling_rate=RATE, **options)
    except ValueError:
        # Either cannot make a tensor of them. Arrays that max_length leaves ragged, theirs fails to normalise.
        if options["return_tensors"] == "pt" or options["max_length"] is None:
            with pytest.raises(ValueError, match=r"differ in length|max_length"):
                ours(speech, sampling_rate=RATE, **options)
        return
    found = ours(speech, sampling_rate=RATE, **options)
    assert_close(found, expected, TOLERANCE[dtype])
    for name in expected:
        assert type(found[name]) is type(expected[name])
        assert [len(row) for row in found[name]] == [len(row) for row in expected[name]]
        assert str(found[name][0].dtype).endswith("float32" if name == "input_values" else "int32")


FORMS: dict[str, Any] = {
    "array": audio([30])[0],
    "numbers": audio([30])[0].tolist(),
    "tuple": tuple(audio([30])[0].tolist()),
    "whole_numbers": [1, 2, 3],
    "tensor": torch.from_numpy(audio([30])[0]),
    "arrays": audio([30, 20]),
    "lists": [one.tolist() for one in audio([30, 20])],
    "tuples": tuple(tuple(one.tolist()) for one in audio([30, 20])),
    "array_of_two": np.stack(audio([30, 30])),
    "one_sample": np.ones(1, np.float32),
    "strided": audio([60])[0][::2],
    "read_only": np.broadcast_to(np.float32(0.5), 30),
    "big_endian": audio([30])[0].astype(">f4"),
}


@pytest.mark.parametrize("form", FORMS)
def test_audio_in_any_form_is_heard_the_same(form: str) -> None:
    """The risk: a list of numbers taken for many recordings, or many for one."""
    options = {"sampling_rate": RATE, "padding": True, "return_tensors": "np"}
    expected = transformers.Wav2Vec2FeatureExtractor()(FORMS[form], **options)
    assert_close(Wav2Vec2FeatureExtractor()(FORMS[form], **options), expected)


@pytest.mark.parametrize("kind", ["list", "batch"])
def test_tensors_are_recordings_as_arrays_are(kind: str) -> None:
    """The risk: transformers makes (1, 2, N) of two tensors, which no model hears."""
    speech = torch.from_numpy(np.stack(audio([30, 30])))
    found = Wav2Vec2FeatureExtractor()(list(speech) if kind == "list" else speech, sampling_rate=RATE)
    expected = transformers.Wav2Vec2FeatureExtractor()(speech.numpy(), sampling_rate=RATE)
    assert_close(found, expected)
    half = Wav2Vec2FeatureExtractor()(speech.bfloat16(), sampling_rate=RATE)
    assert_close(half, expected, 2e-2)


def test_padding_on_the_left_erases_nothing() -> None:
    """The risk: transformers counts ones in the mask and takes as many samples from the left, which is the padding."""
    speech = audio([5, 12])
    options = {"sampling_rate": RATE, "padding": True, "return_attention_mask": True, "return_tensors": "np"}
    left = Wav2Vec2FeatureExtractor(padding_side="left", padding_value=-9.0)(speech, **options)
    alone = Wav2Vec2FeatureExtractor()(speech[0], sampling_rate=RATE, return_tensors="np").input_values[0]
    np.testing.assert_array_equal(left.input_values[0], [-9.0] * 7 + alone.tolist())
    assert left.attention_mask.tolist() == [[0] * 7 + [1] * 5, [1] * 12]
    theirs = transformers.Wav2Vec2FeatureExtractor(padding_side="left")(speech, **options)
    assert np.abs(theirs.input_values[0]).max() == 0  # so it has to be corrected


def test_an_empty_recording_is_all_padding_and_warns_of_nothing() -> None:
    """The risk: the mean of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = {"sampling_rate": RATE, "padding": True, "return_attention_mask": True, "return_tensors": "np"}
        found = Wav2Vec2FeatureExtractor()([np.zeros(0, np.float32), np.ones(3, np.float32)], **options)
        assert found.input_values.tolist() == [[0, 0, 0], [0, 0, 0]]
        assert found.attention_mask.tolist() == [[0, 0, 0], [1, 1, 1]]
        assert (
            Wav2Vec2FeatureExtractor()(np.zeros(0), sampling_rate=RATE, return_tensors="pt").input_values.numel() == 0
        )


def test_audio_stays_as_it_is() -> None:
    """The risk: normalisation in place on what the caller still needs."""
    speech = audio([30])[0]
    before = speech.copy()
    for do_normalize in (True, False):
        Wav2Vec2FeatureExtractor(do_normalize=do_normalize)(speech, sampling_rate=RATE)["input_values"][0][:] = 7
        np.testing.assert_array_equal(speech, before)


def test_another_rate_is_refused_and_none_is_warned_of() -> None:
    """The risk: 8 kHz audio heard at twice its speed, and nobody told."""
    extractor = Wav2Vec2FeatureExtractor()
    for kind in (ValueError, UsageError):
        with pytest.raises(kind, match="the audio has 8000 Hz, but Wav2Vec2FeatureExtractor is set to 16000 Hz"):
            extractor(np.ones(9), sampling_rate=8000)
    with pytest.warns(UserWarning, match="sampling_rate") as caught:
        extractor(np.ones(9))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="no use for paddin"):
        extractor(np.ones(9), sampling_rate=RATE, paddin=True)


@pytest.mark.parametrize(
    ("speech", "message"),
    [
        ([], "not an empty list"),
        ("a.wav", "not a str"),
        (None, "not a NoneType"),
        (0.5, "not a float"),
        (np.ones((1, 2, 3)), r"recording 0 is of shape \(2, 3\), not \(samples,\)"),
        ([np.ones(3), np.ones((2, 3))], r"recording 1 is of shape \(2, 3\)"),
        (np.float32(1), "not a float32"),
        (torch.tensor(1.0), r"recording 0 is of shape \(\)"),
        ([np.ones(3), "b"], "recording 1 is not a sequence of numbers"),
        (np.array(["a"]), "recording 0 is not a sequence of numbers"),
        ([None, None], "recording 0 is not a sequence of numbers"),
    ],
)
def test_what_is_no_audio_is_named(speech: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wav2Vec2FeatureExtractor()(speech, sampling_rate=RATE)


def test_normalisation_alone_is_that_of_transformers() -> None:
    speech, masks = audio([6, 6]), [np.array([1, 1, 1, 1, 0, 0]), np.ones(6)]
    for given_masks in (masks, None):
        found = Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm(speech, given_masks, 3.0)
        expected = transformers.Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm(speech, given_masks, 3.0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


# ---- files

SETTINGS = {"do_normalize": False, "return_attention_mask": True, "padding_value": -1.0, "padding_side": "left"}


def test_either_reads_what_the_other_has_saved(tmp_path: Path) -> None:
    """The risk: a setting lost, renamed or of another type on its way through a file."""
    theirs = transformers.Wav2Vec2FeatureExtractor(**SETTINGS, note="kept")
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert ours.to_dict() == theirs.to_dict()
    assert ours.save_pretrained(tmp_path / "ours") == [str(tmp_path / "ours" / "preprocessor_config.json")]
    files = [tmp_path / which / "preprocessor_config.json" for which in ("theirs", "ours")]
    assert files[0].read_text() == files[1].read_text()
    again = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "ours")
    assert again.to_dict() == theirs.to_dict()
    assert repr(ours) == repr(theirs)
    assert Wav2Vec2FeatureExtractor().to_dict() == transformers.Wav2Vec2FeatureExtractor().to_dict()


def test_any_way_to_name_a_checkpoint_is_read(tmp_path: Path) -> None:
    """The risk: settings of the file that transformers would not have taken, where there are two."""
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}')
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    transformers.Wav2Vec2Processor(transformers.Wav2Vec2FeatureExtractor(**SETTINGS), tokenizer).save_pretrained(
        tmp_path
    )
    expected = transformers.Wav2Vec2FeatureExtractor(**SETTINGS).to_dict()
    for name in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        assert Wav2Vec2FeatureExtractor.from_pretrained(name).to_dict() == expected
    Wav2Vec2FeatureExtractor(padding_value=5.0).save_pretrained(tmp_path)  # beside the processor's, which is newer
    both = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    assert Wav2Vec2FeatureExtractor.from_pretrained(tmp_path).padding_value == both.padding_value == -1.0
    file = tmp_path / "preprocessor_config.json"
    assert Wav2Vec2FeatureExtractor.from_pretrained(file).padding_value == 5.0


def test_keywords_override_settings(tmp_path: Path) -> None:
    """The risk: an override that is ignored because the file does not have the setting, as old ones have not."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "processor_class": "X"}))
    made, unused = Wav2Vec2FeatureExtractor.from_pretrained(
        tmp_path, do_normalize=False, return_attention_mask=True, foo=1, return_unused_kwargs=True, revision="main"
    )
    assert (made.do_normalize, made.return_attention_mask, unused) == (False, True, {"foo": 1})
    assert not hasattr(made, "processor_class")
    with pytest.warns(UserWarning, match="do_normalise is no setting of it; is do_normalize meant"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path, do_normalise=False)
    assert Wav2Vec2FeatureExtractor.from_dict(made.to_dict(), padding_value=2.0).padding_value == 2.0


def test_files_that_cannot_be_followed_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no preprocessor_config\.json"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    transformers.SeamlessM4TFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="is of a SeamlessM4TFeatureExtractor"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="trust_remote_code"):
        Wav2Vec2FeatureExtractor.from_pretrained(tmp_path, trust_remote_code=True)
    with pytest.raises(UsageError, match="is a file"):
        Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "preprocessor_config.json")
    with pytest.raises(UsageError, match="push_to_hub"):
        Wav2Vec2FeatureExtractor().save_pretrained(tmp_path, push_to_hub=True)
