"""pyctcdecode's face: the same calls give the same results, and what it got wrong is said or put right."""

import inspect
import logging
import math
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.decode import ctcdecoder
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.ctcdecoder import BeamSearchDecoderCTC, build_ctcdecoder
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import AS_PYCTCDECODE, Hotwords, LmWeights
from pipeline.decode.plain import PlainBeamSearch
from pipeline.decode.probabilities import log_probabilities
from pipeline.errors import UsageError
from pipeline.lm.model import LanguageModel
from tests.decode import problems
from tests.decode.problems import Problem, SmallLm

WITH_HISTORY = replace(AS_PYCTCDECODE, prune_history=False)  # as its decode_beams searches


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # pyctcdecode's
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|divide by zero|invalid value", RuntimeWarning)
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def lms(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    return problems.small_lms(tmp_path_factory.mktemp("lm"))


@pytest.fixture(params=["native", "plain"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "plain":
        monkeypatch.setattr(ctcdecoder, "_new_search", PlainBeamSearch)
    return str(request.param)


def spelt(text: str, seed: int = 0, labels: tuple[str, ...] = problems.LETTERS, sharpness: float = 6.0) -> Any:
    return problems.spell(np.random.default_rng(seed), labels, text, sharpness)


def with_one_model(problem: Problem, lms: dict[int, str], unigrams: tuple[str, ...] | None) -> Problem:
    return replace(problem, models=(SmallLm(lms[3], unigrams, LmWeights(0.6, 1.1, -7.0, True)),))


def ours_of(problem: Problem) -> BeamSearchDecoderCTC:
    (small,) = problem.models
    w = small.weights
    given = w.alpha, w.beta, w.unk_score_offset, w.score_boundary
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_ctcdecoder(list(problem.labels), small.arpa, small.unigrams, *given, compat=True)


# --- the same as pyctcdecode ------------------------------------------------------------------------------------------


def test_every_call_of_pyctcdecode_can_be_made() -> None:
    """By position or by name: a parameter in another place would be taken for another."""
    theirs = pytest.importorskip("pyctcdecode")
    names = [name for name in vars(theirs.BeamSearchDecoderCTC) if name[0] != "_" and name.islower()]
    pairs = [(getattr(theirs.BeamSearchDecoderCTC, name), name) for name in names]
    pairs = [
        (call, getattr(BeamSearchDecoderCTC, name))
        for call, name in pairs
        if name not in ("model_container", "parse_directory_contents")
    ]
    for theirs_call, ours_call in [(theirs.build_ctcdecoder, build_ctcdecoder), *pairs]:
        expected = inspect.signature(theirs_call).parameters.values()
        found = inspect.signature(ours_call).parameters
        positional = [p.name for p in found.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == [p.name for p in expected if p.kind is p.POSITIONAL_OR_KEYWORD], theirs_call
        for parameter in expected:
            if parameter.name != "logits_list" and parameter.kind is not parameter.VAR_KEYWORD:
                assert found[parameter.name].default == parameter.default, (theirs_call, parameter)


def test_compat_beams_are_pyctcdecodes_to_the_bit(lms: dict[int, str], engine: str) -> None:
    pytest.importorskip("pyctcdecode")
    for seed in range(1000, 1025):
        unigrams = [None, tuple(problems.WORDS), ()][seed % 3]
        problem = with_one_model(problems.draw(seed, lms), lms, unigrams)
        if problem.labels == problems.CLOSING:
            continue
        options, hotwords = problem.options, problem.hotwords or Hotwords()
        given = (options.beam_width, options.beam_prune_logp, options.token_min_logp, options.prune_history)
        found = ours_of(problem).decode_beams(problem.logits, *given, list(hotwords.words), hotwords.weight)
        ours = [(text, frames, *scores) for text, _, frames, *scores in found]
        expected = problem
        if unigrams is None:  # pyctcdecode takes an ARPA's own
            words = tuple(ctcdecoder.arpa_unigrams(lms[3]))
            expected = replace(problem, models=(replace(problem.models[0], unigrams=words),))
        assert ours == [(text, frames, *scores) for text, _, frames, *scores in problems.oracle_beams(expected)], seed


def test_batches_give_what_single_calls_give(lms: dict[int, str], engine: str) -> None:
    decoder = build_ctcdecoder(problems.LETTERS, lms[3], problems.WORDS)
    many = [spelt("THE FILE"), spelt("OPEN A BUG", 1), np.zeros((0, 32)), spelt("I SEE", 2)]
    texts = [decoder.decode(logits) for logits in many]
    assert texts[2] == "" and all(texts[:2])
    assert (
        decoder.decode_batch(None, many) == decoder.decode_batch(many) == decoder.decode_batch(many, threads=1) == texts
    )
    beams = [[(text, *rest) for text, _, *rest in decoder.decode_beams(logits, 20)] for logits in many]
    assert decoder.decode_beams_batch(None, many, 20) == decoder.decode_beams_batch(iter(many), beam_width=20) == beams


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "probabilities", "one frame", "no frame"])
def test_compat_mode_reads_any_logits_as_pyctcdecode_does(lms: dict[int, str], engine: str, kind: str) -> None:
    pytest.importorskip("pyctcdecode")
    logits = spelt("OPENING THE FILES ")
    probabilities = np.exp(log_probabilities(logits))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    logits = {
        "float16": logits.astype(np.float16),
        "float32": logits,
        "float64": logits.astype(np.float64),
        "int64": (logits * 2).astype(np.int64),
        "probabilities": probabilities,
        "one frame": logits[:1],
        "no frame": logits[:0],
    }[kind]
    problem = replace(problems.draw(0, lms), labels=problems.LETTERS, logits=logits, hotwords=None)
    problem = replace(with_one_model(problem, lms, tuple(problems.WORDS)), options=WITH_HISTORY)
    ours = [(text, frames, *scores) for text, _, frames, *scores in ours_of(problem).decode_beams(logits)]
    assert ours == [(text, frames, *scores) for text, _, frames, *scores in problems.oracle_beams(problem)]


def test_float32_probabilities_are_added_in_float64(lms: dict[int, str]) -> None:
    """The one place where compat mode is not what pyctcdecode is under numpy 2, which adds them in float32; under the
    numpy that it asks for it adds them as we do."""
    pytest.importorskip("pyctcdecode")
    probabilities = np.zeros((6, 4), np.float32)
    probabilities[:] = [0.5, 0.25, 0.125, 0.125]  # their sum is one in any type
    problem = Problem(problems.TINY, probabilities, (), None, replace(WITH_HISTORY, num_best=100))
    theirs = {text: scores for text, _, _, *scores in problems.oracle_beams(problem)}
    ours = {
        text: scores for text, _, _, *scores in build_ctcdecoder(problems.TINY, compat=True).decode_beams(probabilities)
    }
    assert set(ours) == set(theirs)
    for text, scores in theirs.items():
        assert ours[text] == pytest.approx(scores, rel=1e-6)


def test_a_state_begins_the_next_decode_as_in_pyctcdecode(lms: dict[int, str], engine: str) -> None:
    pytest.importorskip("pyctcdecode")
    problem = replace(problems.draw(0, lms), labels=problems.LETTERS, hotwords=None, options=AS_PYCTCDECODE)
    problem = with_one_model(problem, lms, tuple(problems.WORDS))
    ours, theirs = ours_of(problem), problems.oracle_decoder(problem)
    state, their_state = None, None
    for seed, text in enumerate(["OPEN THE", "FILE SYSTEM", "OF ", "A BUG"]):
        logits = spelt(text, seed, sharpness=9.0)
        found = ours.decode_beams(logits, lm_start_state=state)[0]
        expected = theirs.decode_beams(logits, lm_start_state=their_state)[0]
        state, their_state = found[1], expected[1]
        assert (found[0], *found[2:]) == (expected[0], *expected[2:])
        assert ours.decode(logits, lm_start_state=state) == theirs.decode(logits, lm_start_state=their_state)
    theirs.cleanup()


# --- what it got wrong ------------------------------------------------------------------------------------------------


def test_probabilities_are_recognised_in_any_type() -> None:
    """Fault 5: float32 probabilities cast to float64 were missed, and softmaxed again; logits could be mistaken."""
    logps = log_probabilities(spelt("THE FILE"))
    for kind in (np.float16, np.float32, np.float64):
        probabilities = np.exp(logps).astype(kind)
        likely = logps > -5
        for cast in (kind, np.float64, np.float32):
            assert log_probabilities(probabilities.astype(cast))[likely] == pytest.approx(logps[likely], abs=0.03)
    few = np.array([[3.0, -2.0, 0.0]])  # these sum to one, as logits may
    assert np.exp(log_probabilities(few)).sum() == pytest.approx(1)
    assert np.exp(log_probabilities(few, compat=True)).sum() > 1
    assert log_probabilities(logps) == pytest.approx(logps, abs=1e-6)  # log-probabilities stay what they are


def test_narrow_types_are_summed_in_a_wider_one() -> None:
    """A sum of 32 exponentials in float16 is off in the third digit."""
    logits = np.random.default_rng(0).normal(0, 1, (4, 500)).astype(np.float16)
    assert log_probabilities(logits) == pytest.approx(log_probabilities(logits.astype(np.float64)), abs=1e-5)


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda logits: logits[0], r"the shape is \(32,\), not one of two dimensions, time and labels"),
        (lambda logits: logits[None], "decode_batch takes several"),
        (lambda logits: logits[:, :31], "31 columns but the alphabet 32 labels"),
        (lambda logits: np.where(np.arange(len(logits))[:, None] == 3, math.nan, logits), "frame 3"),
        (lambda logits: np.where(np.arange(len(logits))[:, None] == 3, -math.inf, logits), "frame 3"),
        (lambda logits: np.where(np.arange(32) == 3, math.inf, logits), "frame 0"),
    ],
)
def test_bad_logits_are_named(engine: str, compat: bool, spoil: Any, message: str) -> None:
    decoder = build_ctcdecoder(problems.LETTERS, compat=compat)
    good = spelt("THE FILE")
    for call in (decoder.decode, decoder.decode_beams):
        with pytest.raises(UsageError, match=f"the logits: .*{message}"):
            call(spoil(good))
    with pytest.raises(UsageError, match=f"logits 2 of 3: .*{message}"):
        decoder.decode_batch([good, spoil(good), good])


def test_a_decoder_goes_to_another_process(lms: dict[int, str], tmp_path: Path) -> None:
    """A KeyError in pyctcdecode, whose models stay in their process. The model is opened there, not sent."""
    decoder = build_ctcdecoder(problems.LETTERS, lms[3], problems.WORDS, beta=2.5)
    logits = spelt("OPEN THE FILE", 3)
    packed = pickle.dumps(decoder)
    assert len(packed) < Path(lms[3]).stat().st_size
    (tmp_path / "decoder").write_bytes(packed)
    np.save(tmp_path / "logits.npy", logits)
    code = (
        "import pickle, sys, pathlib, numpy; at = pathlib.Path(sys.argv[1]);"
        "print(pickle.loads((at / 'decoder').read_bytes()).decode_beams(numpy.load(at / 'logits.npy'))[0][2:])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(decoder.decode_beams(logits)[0][2:])


def test_new_weights_are_those_of_a_new_decoder(lms: dict[int, str], engine: str) -> None:
    logits = spelt("OPENING A BUG")
    decoder = build_ctcdecoder(problems.LETTERS, lms[3], problems.WORDS)
    before = decoder.decode_beams(logits)[0][4]
    decoder.reset_params(alpha=1.5, lm_score_boundary=False)
    new = build_ctcdecoder(problems.LETTERS, lms[3], problems.WORDS, alpha=1.5, lm_score_boundary=False)
    changed, expected = decoder.decode_beams(logits), new.decode_beams(logits)
    assert [beam[0] for beam in changed] == [beam[0] for beam in expected]
    assert changed[0][4] == expected[0][4] != before
    assert pickle.loads(pickle.dumps(decoder)).decode_beams(logits)[0][4] == changed[0][4]
    decoder.cleanup()
    BeamSearchDecoderCTC.clear_class_models()
    assert decoder.decode_beams(logits)[0][4] == changed[0][4]


@pytest.mark.parametrize("unigrams", [None, problems.WORDS])
def test_a_directory_brings_the_decoder_back(
    lms: dict[int, str], tmp_path: Path, engine: str, unigrams: list[str] | None
) -> None:
    """Also without unigrams: the empty list in the directory makes every word unknown to pyctcdecode."""
    decoder = build_ctcdecoder(problems.LETTERS, lms[3], unigrams, alpha=0.9, beta=0.3)
    decoder.save_to_dir(str(tmp_path / "decoder"))
    again = BeamSearchDecoderCTC.load_from_dir(str(tmp_path / "decoder"))
    for seed in range(3):
        logits = spelt("SEEING A FILE SYSTEM", seed)
        assert [b[2:] for b in again.decode_beams(logits)] == [b[2:] for b in decoder.decode_beams(logits)]
    theirs = pytest.importorskip("pyctcdecode").BeamSearchDecoderCTC.load_from_dir(str(tmp_path / "decoder"))
    compat = BeamSearchDecoderCTC.load_from_dir(str(tmp_path / "decoder"), compat=True)
    assert compat.decode_beams(logits)[0][2:] == theirs.decode_beams(logits)[0][2:]
    theirs.cleanup()


def test_the_hub_gives_a_directory(lms: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    build_ctcdecoder(problems.LETTERS, lms[2]).save_to_dir(str(tmp_path))
    asked: list[Any] = []

    def download(model_id: str, **how: Any) -> str:
        asked.append((model_id, how))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    decoder = BeamSearchDecoderCTC.load_from_hf_hub("someone/model", allow_patterns=["alphabet.json"])
    assert decoder.decode(spelt("THE FILE", sharpness=20.0)) == "THE FILE"
    assert asked == [("someone/model", {"cache_dir": None, "allow_patterns": ["alphabet.json"]})]


def test_several_models_are_averaged_as_pyctcdecode_averages_them(lms: dict[int, str], engine: str) -> None:
    pytest.importorskip("pyctcdecode")
    small = tuple(SmallLm(lms[order], tuple(problems.WORDS), LmWeights(beta=order / 3)) for order in (2, 3, 5))
    problem = Problem(problems.LETTERS, spelt("THE BUGS ARE BUGS"), small, None, WITH_HISTORY)
    models = [WordModel(LanguageModel.open(s.arpa), s.unigrams, s.weights) for s in small]
    decoder = BeamSearchDecoderCTC(Alphabet.build(problem.labels), models, compat=True)
    ours = [(text, frames, *scores) for text, _, frames, *scores in decoder.decode_beams(problem.logits)]
    assert ours == [(text, frames, *scores) for text, _, frames, *scores in problems.oracle_beams(problem)]
    with pytest.raises(UsageError, match="holds one language model"):
        decoder.save_to_dir("nowhere")


# --- warnings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unigrams", "message"),
    [
        (
            [word.lower() for word in problems.WORDS],
            "letters that no label has.*upper case they would fit: give them so",
        ),
        ([word.lower() for word in problems.WORDS], "only 0.0% of the unigrams are in .*upper case"),
        (["ΑΒΓ", "ΔΕΖ"], "letters that no label has, such as 'ΑΒΓ'; are they of another language"),
        (["QQ", "ZZ"], "only 0.0% of the unigrams are in .*small-3.arpa; are they of another"),
    ],
)
def test_unigrams_that_do_not_fit_are_a_warning_with_the_likely_fix(
    lms: dict[int, str], unigrams: list[str], message: str
) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        build_ctcdecoder(problems.LETTERS, lms[3], unigrams)
    assert any(re.search(message, str(warning.message)) for warning in told)


def test_a_model_in_another_case_than_the_labels_is_a_warning(lms: dict[int, str]) -> None:
    labels = [label.lower() for label in problems.LETTERS]
    with pytest.warns(
        UserWarning,
        match=r"the words of .*small-3.arpa have letters that no label has.*build the language model .* lower case",
    ):
        build_ctcdecoder(labels, lms[3])


def test_what_fits_is_no_warning(lms: dict[int, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_ctcdecoder(problems.LETTERS, lms[3], problems.WORDS)
        build_ctcdecoder(problems.LETTERS, lms[3], [])
        build_ctcdecoder(problems.TOKENS, lms[3])


def test_compat_without_unigrams_warns_that_it_costs_accuracy(lms: dict[int, str], tmp_path: Path) -> None:
    binary = tmp_path / "lm.binary"
    binary.write_bytes(LanguageModel.open(lms[3]).path.read_bytes())
    with pytest.warns(UserWarning, match="leave compat mode"):
        build_ctcdecoder(problems.LETTERS, str(binary), compat=True)


def test_an_arpas_unigrams_are_those_that_pyctcdecode_finds(lms: dict[int, str], tmp_path: Path) -> None:
    theirs = pytest.importorskip("pyctcdecode.language_model")
    assert ctcdecoder.arpa_unigrams(lms[3]) == theirs.load_unigram_set_from_arpa(lms[3])
    odd = tmp_path / "odd.arpa"
    odd.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\tTHE\t-0.5\n-1 A -1\n-1\tB\n\n\\end\\\n", encoding="utf-8")
    assert ctcdecoder.arpa_unigrams(str(odd)) == theirs.load_unigram_set_from_arpa(str(odd)) == {"THE"}
    odd.write_text("\\data\\\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"odd.arpa: no 1-gram has a back-off weight"):
        ctcdecoder.arpa_unigrams(str(odd))


def test_one_text_is_no_list_of_hotwords() -> None:
    """Each of its letters would be one."""
    with pytest.raises(UsageError, match=r"give \['BUG'\]"):
        build_ctcdecoder(problems.LETTERS).decode(spelt("A"), hotwords="BUG")
