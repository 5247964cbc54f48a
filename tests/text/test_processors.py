"""Processors: what each half is told, whose files are read and written, and which class a checkpoint gets."""

import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.text import (
    AutoProcessor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2PhonemeCTCTokenizer,
    Wav2Vec2Processor,
    Wav2Vec2ProcessorWithLM,
)

LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEHLO'", "ɜː")
TEXTS = ["A BAD CODE", "HELLO"]
KINDS = ("wav2vec2", "bert")


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    import transformers

    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity_warning()


@pytest.fixture(scope="module")
def vocab_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.json"
    path.write_text(json.dumps({label: number for number, label in enumerate(LABELS)}), encoding="utf-8")
    return str(path)


def theirs_of(kind: str, vocab_file: str) -> Any:
    """transformers' processor."""
    import transformers as theirs

    tokenizer = theirs.Wav2Vec2CTCTokenizer(vocab_file)
    if kind == "bert":
        return theirs.Wav2Vec2BertProcessor(theirs.SeamlessM4TFeatureExtractor(padding_value=1.0), tokenizer)
    extractor = theirs.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    return theirs.Wav2Vec2Processor(extractor, tokenizer)


def as_version_4(processor: Any, folder: Path, stated: bool = True) -> Path:
    """What transformers 4 saved: a file for the feature extractor, which may name the processor."""
    processor.feature_extractor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    if stated:
        rewrite(folder / "preprocessor_config.json", processor_class=type(processor).__name__)
    return folder


def rewrite(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content = {name: value for name, value in (content | changes).items() if value is not None}
    path.write_text(json.dumps(content), encoding="utf-8")


def sounds() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, size).astype(np.float32) for size in (1600, 900)]


def assert_same(ours: Any, theirs: Any) -> None:
    assert set(ours.keys()) == set(theirs.keys())
    for name, expected in theirs.items():
        found = ours[name]
        assert type(found) is type(expected), name
        if isinstance(expected, list) or str(expected.dtype) == "object":  # of different lengths
            assert len(found) == len(expected), name
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=2e-4, err_msg=name)
        else:
            assert found.dtype == expected.dtype and tuple(found.shape) == tuple(expected.shape), name
            np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=2e-4, err_msg=name)


# --- calls ------------------------------------------------------------------------------------------------------------

CALLS: list[dict[str, Any]] = [
    {"padding": True},
    {"padding": True, "return_tensors": "pt"},
    {"padding": "max_length", "max_length": 400, "truncation": True, "return_tensors": "np"},
    {"padding": True, "return_attention_mask": False},
    {"padding": True, "pad_to_multiple_of": 64, "return_tensors": "np"},
    {"padding": True, "padding_side": "left", "return_length": True, "return_tensors": "np"},  # the tokenizer's alone
    {"text_kwargs": {"padding": True}, "audio_kwargs": {"padding": "longest"}},
    {"common_kwargs": {"padding": True, "return_tensors": "np"}, "text_kwargs": {"pad_to_multiple_of": 16}},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", CALLS, ids=str)
def test_each_half_is_told_what_transformers_tells_it(
    kind: str, options: dict[str, Any], vocab_file: str, tmp_path: Path
) -> None:
    """An option that reaches the wrong half, or none, changes lengths without a word."""
    theirs = theirs_of(kind, vocab_file)
    theirs.save_pretrained(tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of what reaches a half that has no use for it
        for given in ({"audio": sounds()}, {"text": TEXTS}, {"audio": sounds(), "text": TEXTS}):
            every = {**given, **options, "sampling_rate": 16000}
            assert_same(ours(**every), theirs(**every))
        assert_same(ours(sounds(), TEXTS, sampling_rate=16000, **options), theirs(**every))


@pytest.mark.filterwarnings("ignore:`max_length` is ignored:UserWarning")
@hypothesis.settings(max_examples=60)
@hypothesis.given(data=st.data())
def test_options_in_any_place_and_company_are_routed_alike(vocab_file: str, data: st.DataObject) -> None:
    """By themselves, for one half, for both apart, or in common; given twice, both libraries refuse them."""
    values: dict[str, list[Any]] = {
        "max_length": [1700, 1800],  # above what the sounds have: what is longer makes transformers' arrays ragged
        "truncation": [True, False],
        "pad_to_multiple_of": [8, 50],
        "return_attention_mask": [True, False],
        "return_tensors": ["np", "pt"],
        "padding": ["longest", "max_length"],
    }
    places: dict[str, dict[str, Any]] = {"": {}, "audio_kwargs": {}, "text_kwargs": {}, "common_kwargs": {}}
    for place in places.values():
        for name in data.draw(st.sets(st.sampled_from(sorted(values)), max_size=2)):
            place[name] = data.draw(st.sampled_from(values[name]))
    places["common_kwargs"].setdefault("padding", True)
    options = {name: place for name, place in places.items() if name and place} | places[""]
    theirs = theirs_of("wav2vec2", vocab_file)
    ours = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=True), Wav2Vec2CTCTokenizer(vocab_file))
    given = {"audio": sounds(), "text": TEXTS, "sampling_rate": 16000, **options}
    try:
        expected = theirs(**given)
    except ValueError:
        with pytest.raises((ValueError, UsageError)):
            ours(**given)
    else:
        assert_same(ours(**given), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_pad_pads_inputs_and_labels(kind: str, vocab_file: str, tmp_path: Path) -> None:
    """As a collator of a training loop calls it: both in one call, and one at a time."""
    theirs = theirs_of(kind, vocab_file)
    theirs.save_pretrained(tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path)
    name = theirs.feature_extractor.model_input_names[0]
    inputs = [{name: theirs(sound, sampling_rate=16000)[name][0]} for sound in sounds()]
    labels = [{"input_ids": theirs(text=text)["input_ids"]} for text in TEXTS]
    for options in ({"padding": True, "return_tensors": "pt"}, {"padding": "longest", "return_tensors": "np"}):
        for given in ({"input_features": inputs}, {"labels": labels}, {"input_features": inputs, "labels": labels}):
            assert_same(ours.pad(**given, **options), theirs.pad(**given, **options))
    assert_same(ours.pad(inputs, return_tensors="np"), theirs.pad(inputs, return_tensors="np"))
    with pytest.raises(ValueError, match="give input_features, labels, or both"):
        ours.pad()


def test_texts_are_the_tokenizers(vocab_file: str) -> None:
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file))
    ids = [[10, 9, 11, 0, 11, 12], [5, 5, 4, 6, 0, 0]]
    assert processor.batch_decode(ids) == ["HELLO", "A B"] == [processor.decode(one) for one in ids]
    found = processor.decode(ids[0], output_word_offsets=True)
    assert found.word_offsets == [{"word": "HELLO", "start_offset": 0, "end_offset": 6}]
    assert processor.model_input_names == ["input_values", "attention_mask", "labels"]


def test_a_mask_that_an_old_tokenizer_file_asks_for_is_made(vocab_file: str, tmp_path: Path) -> None:
    """As `facebook/wav2vec2-base-960h` has it: the tokenizer's word counts for audio too, the caller's above it."""
    import transformers

    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path)
    for file, told in (("tokenizer_config.json", False), ("preprocessor_config.json", True)):
        rewrite(tmp_path / file, return_attention_mask=told)
    theirs, ours = transformers.AutoProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)
    for options in ({}, {"return_attention_mask": True}):
        every = {"sampling_rate": 16000, "padding": True, **options}
        assert_same(ours(sounds(), **every), theirs(sounds(), **every))
    told = Wav2Vec2Processor.from_pretrained(tmp_path, return_attention_mask=True)
    assert "attention_mask" in told(sounds(), sampling_rate=16000, padding=True)


def test_what_nobody_understands_is_said(vocab_file: str) -> None:
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file))
    with pytest.warns(UserWarning, match="no option sampling_rat, and ignores it; is sampling_rate meant") as said:
        processor(sounds()[0], sampling_rate=16000, sampling_rat=8000)
    assert said[0].filename == __file__
    with pytest.warns(UserWarning, match="give Wav2Vec2FeatureExtractor the sampling_rate of the audio") as said:
        processor(sounds()[0])
    assert said[0].filename == __file__
    with pytest.raises(ValueError, match="padding is given twice, in audio_kwargs and by itself"):
        processor(sounds(), padding=True, audio_kwargs={"padding": False}, sampling_rate=16000)
    with pytest.raises(ValueError, match="Wav2Vec2Processor: give audio, text, or both"):
        processor()
    with pytest.raises(ValueError, match="8000 Hz"):
        processor(sounds()[0], sampling_rate=8000)


def test_a_call_asks_nothing_of_the_added_tokens(vocab_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary with thousands of them made every call as slow as reading it."""
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file))
    asked = property(lambda tokenizer: pytest.fail("the added tokens were gone through"))
    monkeypatch.setattr(Wav2Vec2CTCTokenizer, "added_tokens_decoder", asked)
    processor(sounds(), TEXTS, sampling_rate=16000, padding=True)


def test_a_processor_says_what_it_is_as_in_transformers(vocab_file: str, tmp_path: Path) -> None:
    theirs = theirs_of("bert", vocab_file)
    theirs.save_pretrained(tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path)
    assert ours.to_dict() == theirs.to_dict()
    assert ours.to_json_string() == theirs.to_json_string()
    assert repr(ours).startswith("Wav2Vec2BertProcessor:\n- feature_extractor: SeamlessM4TFeatureExtractor {")
    assert "- tokenizer: Wav2Vec2CTCTokenizer(" in repr(ours)


def test_halves_that_changed_places_are_refused(vocab_file: str) -> None:
    extractor, tokenizer = Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file)
    with pytest.raises(UsageError, match="Wav2Vec2Processor: a Wav2Vec2CTCTokenizer is no feature_extractor"):
        Wav2Vec2Processor(tokenizer, extractor)
    with pytest.raises(UsageError, match="Wav2Vec2BertProcessor: a Wav2Vec2FeatureExtractor is no tokenizer"):
        Wav2Vec2BertProcessor(extractor, extractor)


def test_processors_travel_to_other_processes(vocab_file: str) -> None:
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file))
    again = pickle.loads(pickle.dumps(processor))
    given = {"audio": sounds(), "text": TEXTS, "sampling_rate": 16000, "padding": True}
    assert_same(again(**given), processor(**given))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", [4, 5])
def test_what_transformers_saved_is_read(kind: str, version: int, vocab_file: str, tmp_path: Path) -> None:
    theirs = theirs_of(kind, vocab_file)
    if version == 5:
        theirs.save_pretrained(tmp_path)
        assert not (tmp_path / "preprocessor_config.json").exists()
    else:
        as_version_4(theirs, tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path)
    assert type(ours).__name__ == type(theirs).__name__
    assert ours.feature_extractor.to_dict() == theirs.feature_extractor.to_dict()
    assert ours.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
    given = {"audio": sounds(), "text": TEXTS, "sampling_rate": 16000, "padding": True}
    assert_same(ours(**given), theirs(**given))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_what_we_save(kind: str, vocab_file: str, tmp_path: Path) -> None:
    """Over what it saved there before, too: the settings within its own file would have precedence over ours."""
    import transformers

    theirs = theirs_of(kind, vocab_file)
    theirs.save_pretrained(tmp_path)
    ours = AutoProcessor.from_pretrained(tmp_path, padding_value=0.5)
    ours.save_pretrained(tmp_path)
    for again in (transformers.AutoProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(again).__name__ == type(theirs).__name__
        assert again.feature_extractor.to_dict() == {**theirs.feature_extractor.to_dict(), "padding_value": 0.5}
        assert again.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
        assert again(text=TEXTS)["input_ids"] == theirs(text=TEXTS)["input_ids"]
        assert again.batch_decode([[10, 9, 11, 0, 11, 12]]) == ["HELLO"]
    (tmp_path / "processor_config.json").unlink()  # of which early versions know nothing
    assert type(transformers.AutoProcessor.from_pretrained(tmp_path)).__name__ == type(theirs).__name__


def test_every_file_names_the_processor(vocab_file: str, tmp_path: Path) -> None:
    """Versions of transformers differ in the one they look at."""
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file)).save_pretrained(tmp_path)
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / file).read_text(encoding="utf-8"))["processor_class"] == "Wav2Vec2Processor"


def test_both_halves_get_the_settings_that_are_theirs(vocab_file: str, tmp_path: Path) -> None:
    processor = Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file))
    processor.save_pretrained(tmp_path)
    told = Wav2Vec2Processor.from_pretrained(tmp_path, do_normalize=False, do_lower_case=True, local_files_only=True)
    assert told.feature_extractor.do_normalize is False and not hasattr(told.feature_extractor, "do_lower_case")
    assert told.decode([10, 9]) == "he"
    assert Wav2Vec2Processor.from_pretrained(tmp_path, extra_special_tokens=["<sing>"]).tokenizer.vocab_size == 15
    assert (
        "<sing>" in Wav2Vec2Processor.from_pretrained(tmp_path, extra_special_tokens=["<sing>"]).tokenizer.get_vocab()
    )


@pytest.mark.parametrize("chooses", [Wav2Vec2Processor, AutoProcessor])
def test_a_setting_that_neither_half_has_is_said_and_not_saved(chooses: Any, vocab_file: str, tmp_path: Path) -> None:
    """Once, and at the line that has it: saved, the next to read it takes it for a setting."""
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), Wav2Vec2CTCTokenizer(vocab_file)).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="do_normalise is a setting of neither .*; is do_normalize meant") as said:
        processor = chooses.from_pretrained(tmp_path, do_normalise=False)
    assert [one.filename for one in said] == [__file__]
    processor.save_pretrained(tmp_path)
    assert not any("do_normalise" in file.read_text(encoding="utf-8") for file in tmp_path.iterdir())


def test_the_language_of_a_processor_can_be_chosen(tmp_path: Path) -> None:
    nested = {"eng": {"<pad>": 0, "|": 1, "a": 2}, "fra": {"<pad>": 0, "|": 1, "é": 2}}
    (tmp_path / "vocab.json").write_text(json.dumps(nested), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", target_lang="eng")
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(tmp_path / "saved")
    assert AutoProcessor.from_pretrained(tmp_path / "saved").decode([2]) == "a"
    assert AutoProcessor.from_pretrained(tmp_path / "saved", target_lang="fra").decode([2]) == "é"


# --- which class a checkpoint gets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phonemes", [False, True])
def test_without_a_stated_class_the_halves_decide(kind: str, phonemes: bool, vocab_file: str, tmp_path: Path) -> None:
    import transformers

    theirs = theirs_of(kind, vocab_file)
    if phonemes:
        theirs.tokenizer = transformers.Wav2Vec2PhonemeCTCTokenizer(vocab_file, do_phonemize=False)
    as_version_4(theirs, tmp_path, stated=False)
    ours = AutoProcessor.from_pretrained(tmp_path)
    assert type(ours) is {"bert": Wav2Vec2BertProcessor, "wav2vec2": Wav2Vec2Processor}[kind]
    assert type(ours.tokenizer) is (Wav2Vec2PhonemeCTCTokenizer if phonemes else Wav2Vec2CTCTokenizer)
    assert type(ours.feature_extractor).__name__ == type(theirs.feature_extractor).__name__


def test_the_first_tokenizer_files_name_no_class(vocab_file: str, tmp_path: Path) -> None:
    """As those of 2021 are: tokens alone; the model's config may know more."""
    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path, stated=False)
    rewrite(tmp_path / "tokenizer_config.json", tokenizer_class=None)
    rewrite(tmp_path / "preprocessor_config.json", feature_extractor_type=None)
    assert type(AutoProcessor.from_pretrained(tmp_path).tokenizer) is Wav2Vec2CTCTokenizer
    rewrite(tmp_path / "config.json", tokenizer_class="Wav2Vec2PhonemeCTCTokenizer")
    rewrite(tmp_path / "tokenizer_config.json", do_phonemize=False)
    assert type(AutoProcessor.from_pretrained(tmp_path).tokenizer) is Wav2Vec2PhonemeCTCTokenizer


def test_a_checkpoint_of_one_half_gives_that(vocab_file: str, tmp_path: Path) -> None:
    """Those that classify have no tokenizer. transformers says so of the same files, where it can tell."""
    import transformers

    theirs = theirs_of("bert", vocab_file)
    theirs.feature_extractor.save_pretrained(tmp_path / "heard")
    theirs.tokenizer.save_pretrained(tmp_path / "spelt")
    for place, kind in (("heard", SeamlessM4TFeatureExtractor), ("spelt", Wav2Vec2CTCTokenizer)):
        found = transformers.AutoProcessor.from_pretrained(tmp_path / place)
        assert type(AutoProcessor.from_pretrained(tmp_path / place)) is kind
        assert type(found).__name__ == kind.__name__
    # With a config it fails there, looking for a vocabulary.
    rewrite(tmp_path / "heard" / "config.json", architectures=["Wav2Vec2BertForSequenceClassification"])
    rewrite(tmp_path / "heard" / "preprocessor_config.json", processor_class="Wav2Vec2BertProcessor")
    assert type(AutoProcessor.from_pretrained(tmp_path / "heard", padding_value=0.5)) is SeamlessM4TFeatureExtractor
    rewrite(tmp_path / "heard" / "config.json", architectures=["Wav2Vec2BertForCTC"])
    with pytest.raises(UsageError, match=r"vocab\.json is missing"):
        AutoProcessor.from_pretrained(tmp_path / "heard")


def test_the_processors_file_has_the_last_word(vocab_file: str, tmp_path: Path) -> None:
    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is Wav2Vec2Processor
    rewrite(tmp_path / "processor_config.json", processor_class="Wav2Vec2BertProcessor")
    assert type(AutoProcessor.from_pretrained(tmp_path)) is Wav2Vec2BertProcessor


def test_a_decoder_beside_the_processor_is_found(vocab_file: str, tmp_path: Path) -> None:
    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path)
    (tmp_path / "alphabet.json").write_text(
        json.dumps({"labels": ["", "<s>", "</s>", "⁇", " ", *LABELS[5:]], "is_bpe": False}), encoding="utf-8"
    )
    assert type(AutoProcessor.from_pretrained(tmp_path)) is Wav2Vec2Processor  # as stated, and as transformers does
    rewrite(tmp_path / "preprocessor_config.json", processor_class=None)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is Wav2Vec2ProcessorWithLM


def test_what_cannot_be_read_is_named(vocab_file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a feature extractor .* nor a tokenizer is there"):
        AutoProcessor.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no such directory"):
        AutoProcessor.from_pretrained(tmp_path / "nowhere")
    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path)
    rewrite(tmp_path / "preprocessor_config.json", processor_class="WhisperProcessor")
    with pytest.raises(UsageError, match=r"preprocessor_config\.json: processor WhisperProcessor is not supported"):
        AutoProcessor.from_pretrained(tmp_path)
    rewrite(tmp_path / "preprocessor_config.json", feature_extractor_type="WhisperFeatureExtractor")
    with pytest.raises(UsageError, match="feature extractor WhisperFeatureExtractor is not supported"):
        Wav2Vec2Processor.from_pretrained(tmp_path)
    rewrite(tmp_path / "preprocessor_config.json", feature_extractor_type="Wav2Vec2FeatureExtractor")
    rewrite(tmp_path / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    with pytest.raises(UsageError, match="tokenizer BertTokenizer is not supported"):
        Wav2Vec2Processor.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="only chooses a class"):
        AutoProcessor()


def test_code_of_a_checkpoint_is_not_run(vocab_file: str, tmp_path: Path) -> None:
    as_version_4(theirs_of("wav2vec2", vocab_file), tmp_path)
    rewrite(tmp_path / "preprocessor_config.json", auto_map={"AutoProcessor": "mine.Processor"})
    (tmp_path / "mine.py").write_text("raise SystemExit('run')")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert type(AutoProcessor.from_pretrained(tmp_path)) is Wav2Vec2Processor
