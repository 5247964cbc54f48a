"""The compiled search against its plain twin, which `test_plain` holds to pyctcdecode, brute force and kenlm."""

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.decode import work as rows
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.beam import BeamSearch
from pipeline.decode.hypotheses import Beam, Decoded, WordModel
from pipeline.decode.likely import SparseEmissions, top_k
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.plain import PlainBeamSearch
from pipeline.decode.probabilities import log_probabilities
from pipeline.decode.scorers import NativeScorer
from pipeline.errors import RecordingError, UsageError
from pipeline.lm.model import LanguageModel
from tests.decode import problems
from tests.decode.problems import LETTERS, Problem

FIXTURES = Path(__file__).parents[1] / "lm" / "fixtures"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    """The small language models by path."""
    lms = problems.small_lms(tmp_path_factory.mktemp("lms"))
    return {path: LanguageModel.open(path) for path in lms.values()}


@pytest.fixture(scope="module")
def lms(models: dict[str, LanguageModel]) -> dict[int, str]:
    return {model.order: path for path, model in models.items()}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def both(problem: Problem, models: dict[str, LanguageModel], compat: bool) -> tuple[BeamSearch, PlainBeamSearch]:
    alphabet = Alphabet.build(problem.labels)
    native = [WordModel(models[lm.arpa], lm.unigrams, lm.weights) for lm in problem.models]
    plain = [replace(model, model=NativeScorer(model.model)) for model in native]
    return BeamSearch(alphabet, native, compat), PlainBeamSearch(alphabet, plain, compat)


def decoded(results: list[Decoded | RecordingError]) -> list[Decoded]:
    assert all(isinstance(result, Decoded) for result in results), results
    return results  # type: ignore[return-value]


def letters_search(models: dict[str, LanguageModel], lms: dict[int, str], **more: Any) -> BeamSearch:
    return BeamSearch(Alphabet.build(LETTERS), [WordModel(models[lms[3]])], **more)


def corpus(num: int, text: str = "THE FILE SYSTEM OPENS THE FILE") -> list[np.ndarray]:
    return [
        log_probabilities(problems.spell(np.random.default_rng(seed), LETTERS, text), compat=False)
        for seed in range(num)
    ]


@pytest.mark.parametrize("compat", [True, False])
def test_the_compiled_search_is_its_plain_twin_to_the_bit(
    models: dict[str, LanguageModel], lms: dict[int, str], compat: bool
) -> None:
    """Every text of the n best, both scores, all times of words and labels, whether the beam narrowed."""
    num_narrowed = 0
    for seed in range(40):
        problem = problems.draw(seed, lms)
        if compat and problem.labels == problems.CLOSING:
            continue  # refused, see below
        # Some problems with so low a limit of effort that it is met.
        options = problem.options if seed % 3 else replace(problem.options, max_effort=30.0, beam_width=20)
        emissions = [log_probabilities(problem.logits, compat)]
        compiled, plain = both(problem, models, compat)
        (ours,) = decoded(compiled.decode(emissions, options, problem.hotwords, with_chars=True))
        (twins,) = decoded(plain.decode(emissions, options, problem.hotwords, with_chars=True))
        assert [_but_confidences(b) for b in ours.beams] == [_but_confidences(b) for b in twins.beams], problem
        confidences = [[w.confidence for b in d.beams for w in b.words] for d in (ours, twins)]
        np.testing.assert_allclose(*confidences, rtol=1e-9)
        assert ours.narrowed == twins.narrowed
        num_narrowed += ours.narrowed
    assert compat or num_narrowed > 0, "no problem met the limit of effort"


def _but_confidences(beam: Beam) -> tuple[Any, ...]:
    return beam.text, [word[:3] for word in beam.words], beam.chars, beam.logit_score, beam.score


@pytest.mark.parametrize("kind", ["trie", "quantised", "array", "quantised-array"])
def test_every_kind_of_file_gives_what_kenlm_gives(kind: str) -> None:
    """The plain search asks the kenlm package, with the same file."""
    pytest.importorskip("kenlm")
    from pipeline.decode.scorers import KenlmScorer

    path, labels = str(FIXTURES / f"order3.{kind}"), [label.lower() for label in LETTERS]
    model = LanguageModel.open(path)
    words = [word for word in model.words() if word.isalpha()]
    texts = [" ".join(words[first : first + 4]) for first in (0, 4)]
    spelt = [problems.spell(np.random.default_rng(seed), labels, text) for seed, text in enumerate(texts)]
    emissions = [log_probabilities(one, compat=False) for one in spelt]
    options = SearchOptions(num_best=20, beam_width=25)
    ours = decoded(BeamSearch(Alphabet.build(labels), [WordModel(model)]).decode(emissions, options))
    plain = PlainBeamSearch(Alphabet.build(labels), [WordModel(KenlmScorer(path))])
    theirs = decoded(plain.decode(emissions, options))
    assert [[_but_confidences(b) for b in d.beams] for d in ours] == [
        [_but_confidences(replace(b, chars=[])) for b in d.beams] for d in theirs
    ]


@pytest.mark.parametrize("compat", [True, False])
def test_chunks_give_what_the_whole_gives(models: dict[str, LanguageModel], lms: dict[int, str], compat: bool) -> None:
    """Beams, partial words and last labels carry on, wherever the cuts are; a look in between changes nothing."""
    for seed in range(12):
        problem = problems.draw(seed, lms)
        if compat and problem.labels == problems.CLOSING:
            continue
        search, _ = both(problem, models, compat)
        emissions = log_probabilities(problem.logits, compat)
        (whole,) = decoded(search.decode([emissions], problem.options, problem.hotwords, with_chars=True))
        stream = search.stream(problem.options, problem.hotwords, with_chars=True)
        for chunk in np.array_split(emissions, 1 + seed):
            stream.feed(chunk)
            stream.result()
        assert stream.result() == whole


def test_the_result_depends_on_no_neighbour_and_on_no_thread(
    models: dict[str, LanguageModel], lms: dict[int, str]
) -> None:
    search, options = letters_search(models, lms), SearchOptions(num_best=5)
    emissions = corpus(12)
    alone = [search.decode([one], options)[0] for one in emissions]
    for threads in (1, 2, 5):
        assert search.decode(emissions, options, threads=threads) == alone


def test_buffers_grow_without_a_trace(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    """A recording that needs many times the first buffers, between two that do not."""
    search = letters_search(models, lms)
    rng = np.random.default_rng(5)
    noise = log_probabilities(problems.random_emissions(rng, 400, len(LETTERS), 1.0), compat=False)
    short = corpus(1)[0]
    options = SearchOptions(beam_width=300, token_min_logp=-8.0)
    before, long, after = decoded(search.decode([short, noise, short], options))
    assert before == after == search.decode([short], options)[0]
    stream = search.stream(options)
    for frame in noise:
        stream.feed(frame[None])
    assert stream.result() == long


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_recording_fails_alone(models: dict[str, LanguageModel], lms: dict[int, str], bad: float) -> None:
    emissions = corpus(3)
    emissions[1] = emissions[1].copy()
    emissions[1][7, 3] = bad
    first, failed, last = letters_search(models, lms).decode(emissions, SearchOptions(), threads=2)
    assert isinstance(first, Decoded) and isinstance(last, Decoded)
    assert isinstance(failed, RecordingError)
    assert (failed.reason, failed.detail) == (
        "emissions that are not numbers",
        f"first in frame 7 of {len(emissions[1])}",
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_is_taken(models: dict[str, LanguageModel], lms: dict[int, str], dtype: Any) -> None:
    emissions = [one.astype(dtype) for one in corpus(2)]
    as_float64 = [one.astype(np.float64) for one in emissions]
    search = letters_search(models, lms)
    assert search.decode(emissions, SearchOptions()) == search.decode(as_float64, SearchOptions())


def test_emissions_need_not_lie_in_order(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    """Views and Fortran order, as slices and transposed tensors are."""
    search, (emissions,) = letters_search(models, lms), corpus(1)
    assert search.decode([np.asfortranarray(emissions)], SearchOptions()) == search.decode([emissions], SearchOptions())


def test_sparse_emissions_are_the_dense_ones_that_they_stand_for(
    models: dict[str, LanguageModel], lms: dict[int, str]
) -> None:
    search, options = letters_search(models, lms), SearchOptions(num_best=5)
    dense = corpus(4)
    assert search.decode([top_k(one, len(LETTERS)) for one in dense], options) == search.decode(dense, options)
    for one in dense:  # what top k leaves out is as good as impossible
        sparse, thinned = top_k(one, 3), np.full_like(one, -np.inf)
        for frame, label, logp in zip(np.repeat(np.arange(len(one)), 3), sparse.labels, sparse.logps, strict=True):
            thinned[frame, label] = logp
        assert search.decode([sparse], options) == search.decode([thinned], options)


def test_sparse_emissions_that_cannot_be_are_refused(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    search = letters_search(models, lms)

    def decode(offsets: list[int], labels: list[int], logps: list[float]) -> Any:
        arrays = np.array(offsets), np.array(labels, np.int32), np.array(logps, np.float64)
        return search.decode([SparseEmissions(*arrays)], SearchOptions())[0]

    with pytest.raises(UsageError, match="the label 32, but there are 32"):
        decode([0, 1], [32], [-0.1])
    with pytest.raises(UsageError, match="frame 1 has no label"):
        decode([0, 1, 1], [5], [-0.1])
    with pytest.raises(UsageError, match="offsets run from 0"):
        decode([0, 2], [5], [-0.1])
    assert isinstance(decode([0, 1, 2], [5, 0], [-0.1, np.nan]), RecordingError)
    assert isinstance(decode([0], [], []), Decoded)


def test_other_weights_are_those_of_a_new_search(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    weights = LmWeights(alpha=1.3, beta=-0.5, unk_score_offset=-3.0, score_boundary=False)
    alphabet, emissions = Alphabet.build(LETTERS), corpus(3)
    changed = letters_search(models, lms).reweighted([weights])
    made = BeamSearch(alphabet, [WordModel(models[lms[3]], weights=weights)])
    options = SearchOptions(num_best=10)
    assert changed.decode(emissions, options) == made.decode(emissions, options)


def test_a_hotword_wins_over_what_sounds_alike() -> None:
    search = BeamSearch(Alphabet.build(LETTERS))
    emissions = np.full((9, len(LETTERS)), np.log(1e-4))
    for frame, (one, other) in enumerate(zip("BUG|FILES", "BAG|TILES", strict=True)):
        emissions[frame, [LETTERS.index(one), LETTERS.index(other)]] = np.log(0.4), np.log(0.5)
        if one == other:
            emissions[frame, LETTERS.index(one)] = np.log(0.9)
    (plain,) = decoded(search.decode([emissions], SearchOptions()))
    (hot,) = decoded(search.decode([emissions], SearchOptions(), Hotwords(("BUG FILES",))))
    assert (plain.beams[0].text, hot.beams[0].text) == ("BAG TILES", "BUG FILES")


def test_labels_that_do_not_fit_are_refused(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    with pytest.raises(UsageError, match="33 columns"):
        letters_search(models, lms).decode([np.zeros((4, 33))], SearchOptions())
    with pytest.raises(UsageError, match="two dimensions"):
        letters_search(models, lms).decode([np.zeros(32)], SearchOptions())
    with pytest.raises(UsageError, match="end in ▁ alone, as N▁"):
        BeamSearch(Alphabet.build(problems.CLOSING), compat=True)


def test_one_hypothesis_may_become_as_many_as_there_are_labels() -> None:
    """After long certainty a frame of doubt: every label ends a word, and needs room for its times."""
    labels = ("", *(f"▁{number}" for number in range(120)))
    search = BeamSearch(Alphabet(labels, is_bpe=True))
    certain = np.full((4096, len(labels)), -100.0)
    certain[np.arange(4096), 1 + np.arange(4096) % 2] = 0.0  # words in turn
    for num_certain in (4096, 4050, 4000):  # the buffers begin with 4096 rows
        stream = search.stream(SearchOptions(num_best=1000), with_chars=True)
        stream.feed(certain[-num_certain:])
        stream.feed(np.full((1, len(labels)), -np.log(len(labels))))
        work = stream._work
        assert work.counts[rows.WORDS] > 4096 - 50 and work.counts[rows.WORDS] <= len(work.words)
        assert work.counts[rows.CHARS] <= len(work.chars)
    assert len(stream.result().beams) >= 99


@pytest.mark.parametrize("bad", [np.zeros((3, 32), np.int64), np.zeros((3, 32), object), np.zeros((3, 32), complex)])
def test_emissions_that_are_no_floating_point_numbers_are_refused(bad: Any) -> None:
    with pytest.raises(UsageError, match="floating point"):
        BeamSearch(Alphabet.build(LETTERS)).decode([bad], SearchOptions())


def test_no_weight_may_be_nan(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    for name in ("alpha", "beta", "unk_score_offset", "share"):
        with pytest.raises(UsageError, match=name):
            LmWeights(**{name: float("nan")})
    with pytest.raises(UsageError, match="hotwords"):
        Hotwords(("A",), float("-inf"))
    with pytest.raises(UsageError, match="add up to nothing"):
        BeamSearch(Alphabet.build(LETTERS), [WordModel(models[lms[3]], weights=LmWeights(share=0.0))])


def test_a_state_of_something_else_is_refused(models: dict[str, LanguageModel], lms: dict[int, str]) -> None:
    for state in ((), ("state",), object()):
        with pytest.raises(UsageError, match="1 states of this decoder"):
            letters_search(models, lms).decode(corpus(1), SearchOptions(), start=state)  # type: ignore[arg-type]


WARMED_UP = """
import numpy as np
from pipeline.decode import collect, kernel, likely, readout, work
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.beam import BeamSearch, warm_up
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.likely import top_k
from pipeline.decode.options import Hotwords, SearchOptions
from pipeline.lm.model import LanguageModel
import sys

warm_up()
compiled = [kernel.run, kernel.finish, readout.read_out, likely._sparse, likely._first_bad, likely._thinned]
compiled += [likely._first_bad_of_sparse, work._rows_needed, work._enter_texts, work._enter_nodes, collect.collect]
before = [len(function.signatures) for function in compiled]
assert all(before), before
models = [WordModel(LanguageModel.open(path)) for path in sys.argv[1:]]
emissions = np.full((5, 3), -np.log(3))
frozen = emissions.astype(np.float32)
frozen.flags.writeable = False
for some in ([], models[:1], models):
    search = BeamSearch(Alphabet(("", " ", "a"), False), some)
    for one in (emissions, frozen, emissions.astype(np.float16), np.asfortranarray(emissions), top_k(emissions, 2)):
        search.decode([one], SearchOptions(beam_prune_logp=-10, max_effort=100), Hotwords(("a",), 10), with_chars=True)
assert [len(function.signatures) for function in compiled] == before
"""


def test_warming_up_compiles_all_that_a_search_will_need() -> None:
    """In a process of its own: here, other tests have compiled everything."""
    paths = [str(FIXTURES / "order3.probing"), str(FIXTURES / "order6.trie")]
    done = subprocess.run([sys.executable, "-c", WARMED_UP, *paths], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
