"""The plain search: pyctcdecode's results to the bit in compat mode; else each of its faults corrected, and the results
held to the sum over all paths, to KenLM's score of the text, and to greedy decoding."""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.fusion import LN10
from pipeline.decode.greedy import greedy
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.options import AS_PYCTCDECODE, Hotwords, LmWeights, SearchOptions
from pipeline.decode.plain import PlainBeamSearch
from pipeline.decode.scorers import KenlmScorer, WordScorer
from pipeline.errors import RecordingError, UsageError
from pipeline.lm.model import LanguageModel
from pipeline.text.vocabulary import Vocabulary
from tests.decode import problems
from tests.decode.problems import Problem

EVERYTHING = SearchOptions(10**6, -math.inf, -math.inf, prune_history=False, num_best=10**6)
WIDE = replace(AS_PYCTCDECODE, beam_width=25, num_best=100, prune_history=False)


@pytest.fixture(scope="module")
def lms(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    return problems.small_lms(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def kenlms(lms: dict[int, str]) -> dict[str, KenlmScorer]:
    pytest.importorskip("kenlm")
    return {path: KenlmScorer(path) for path in lms.values()}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # pyctcdecode's
    yield
    logging.disable(logging.NOTSET)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In the type of the logits, as pyctcdecode does; then doubles."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        logps = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.clip(logps.astype(np.float64), np.log(1e-15), 0)


def search_of(problem: Problem, scorers: dict[str, Any], compat: bool = False) -> PlainBeamSearch:
    models = [WordModel(scorers[small.arpa], small.unigrams, small.weights) for small in problem.models]
    return PlainBeamSearch(Alphabet.build(problem.labels), models, compat)


def one(search: PlainBeamSearch, emissions: np.ndarray, options: SearchOptions = WIDE, **more: Any) -> Decoded:
    (decoded,) = search.decode([emissions], options, **more)
    assert isinstance(decoded, Decoded)
    return decoded


def emissions_of(labels: Sequence[str], rows: Sequence[dict[str, float]]) -> np.ndarray:
    """Log-probabilities of the labels named in each row; the others share what is left."""
    table = np.zeros((len(rows), len(labels)))
    for frame, row in enumerate(rows):
        table[frame] = (1 - sum(row.values())) / (len(labels) - len(row)) if len(labels) > len(row) else 0
        for label, p in row.items():
            table[frame, labels.index(label)] = p
    return np.log(np.maximum(table, 1e-12))


def certain(labels: Sequence[str], path: Sequence[str]) -> np.ndarray:
    return emissions_of(labels, [{label: 0.999} for label in path])


# --- compat mode ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(6))
def test_compat_mode_is_pyctcdecode_to_the_bit(lms: dict[int, str], kenlms: dict[str, KenlmScorer], block: int) -> None:
    """Every text of the n best, both scores, all frames: letters, pieces, models, hotwords, ties, narrow and wide."""
    pytest.importorskip("pyctcdecode")
    for seed in range(20 * block, 20 * block + 20):
        problem = problems.draw(seed, lms)
        found = one(
            search_of(problem, kenlms, compat=True),
            log_softmax(problem.logits),
            problem.options,
            hotwords=problem.hotwords,
        )
        ours = [(b.text, [(w.word, (w.start, w.end)) for w in b.words], b.logit_score, b.score) for b in found.beams]
        theirs = [(text, frames, *scores) for text, _, frames, *scores in problems.oracle_beams(problem)]
        assert ours == theirs, f"seed {seed}: {problem}"


@pytest.mark.parametrize("compat", [False, True])
def test_our_reader_and_kenlm_give_the_same_results(
    lms: dict[int, str], kenlms: dict[str, KenlmScorer], compat: bool
) -> None:
    natives = {path: LanguageModel.open(path) for path in lms.values()}
    for seed in range(300, 315):
        problem = problems.draw(seed, lms)
        given_ = log_softmax(problem.logits), problem.options
        ours = one(search_of(problem, natives, compat), *given_, hotwords=problem.hotwords)
        theirs = one(search_of(problem, kenlms, compat), *given_, hotwords=problem.hotwords)
        assert _without_states(ours) == _without_states(theirs), f"seed {seed}"


def _without_states(decoded: Decoded) -> list[Beam]:
    return [replace(beam, lm_state=None) for beam in decoded.beams]


# --- default mode, against the sum over all paths ---------------------------------------------------------------------


def brute_force(alphabet: Alphabet, emissions: np.ndarray) -> dict[str, tuple[float, list[BeamWord], list[BeamChar]]]:
    """Per text the log of its probability, and the words and letters of its best path: from every path there is."""
    found: dict[str, tuple[float, float, list[BeamWord], list[BeamChar]]] = {}
    same = alphabet.same()
    for path in itertools.product(range(emissions.shape[1]), repeat=len(emissions)):
        logps = [emissions[frame, label] for frame, label in enumerate(path)]
        spans = [(text, start, end) for text, start, end in _stretches(alphabet, same, path)]
        words: list[BeamWord] = []
        chars: list[BeamChar] = []
        current: list[tuple[str, int, int]] = []

        def end_word(current: list[Any] = current, words: list[BeamWord] = words, logps: list[float] = logps) -> None:
            word = "".join(text for text, _, _ in current)
            if word:
                start, end = current[0][1], current[-1][2]
                words.append(BeamWord(word, start, end, math.exp(sum(logps[start:end]) / (end - start))))
            current.clear()

        for text, start, end in spans:
            if text == " " or text.startswith("▁"):
                end_word()
            clean = text.strip(" ▁")
            if clean:
                current.append((clean, start, end))
                chars.append(BeamChar(clean, start, end))
            if len(text) > 1 and text.endswith("▁"):
                end_word()
        end_word()
        text = " ".join(word.word for word in words)
        logp = math.fsum(logps)
        total, best, *rest = found.get(text, (-math.inf, -math.inf, [], []))
        found[text] = (float(np.logaddexp(total, logp)), *((logp, words, chars) if logp > best else (best, *rest)))
    return {text: (total, words, chars) for text, (total, _, words, chars) in found.items()}


def _stretches(alphabet: Alphabet, same: Sequence[int], path: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    frame = 0
    for label, frames in itertools.groupby(same[label] for label in path):
        length = len(list(frames))
        if alphabet.labels[label]:
            yield alphabet.labels[label], frame, frame + length
        frame += length


@pytest.mark.parametrize(
    "alphabet",
    [
        Alphabet(("A", "B", " ", ""), False),
        Alphabet(("", "", "A", " "), False),  # a silent mark beside the blank
        Alphabet(("▁A", "B", "▁", ""), True),
        Alphabet(("▁A▁", "B", "▁AB", ""), True),
        Alphabet(("SH", "S", "H", ""), False),
    ],
    ids=lambda alphabet: "/".join(alphabet.labels),
)
@settings(max_examples=12, deadline=None)
@given(num_frames=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_scores_are_sums_over_all_paths_and_times_those_of_the_best(
    alphabet: Alphabet, num_frames: int, seed: int
) -> None:
    emissions = log_softmax(problems.random_emissions(np.random.default_rng(seed), num_frames, 4, 2.0))
    expected = brute_force(alphabet, emissions)
    beams = one(PlainBeamSearch(alphabet), emissions, EVERYTHING, with_chars=True).beams
    assert {beam.text for beam in beams} == set(expected)
    for beam in beams:
        total, words, chars = expected[beam.text]
        assert beam.score == beam.logit_score == pytest.approx(total, abs=1e-9)
        assert [word[:3] for word in beam.words] == [word[:3] for word in words]
        assert [word.confidence for word in beam.words] == pytest.approx([word.confidence for word in words])
        assert beam.chars == chars
    assert math.fsum(math.exp(beam.logit_score) for beam in beams) == pytest.approx(1)


def test_everything_that_comes_out_is_in_order_and_inside(lms: dict[int, str], kenlms: dict[str, KenlmScorer]) -> None:
    for seed in range(400, 430):
        problem = problems.draw(seed, lms)
        emissions = log_softmax(problem.logits)
        search = search_of(problem, kenlms)
        decoded = one(search, emissions, problem.options, hotwords=problem.hotwords, with_chars=True)
        scores = [beam.score for beam in decoded.beams]
        assert scores == sorted(scores, reverse=True) and all(map(math.isfinite, scores))
        assert len({beam.text for beam in decoded.beams}) == len(decoded.beams)
        assert math.fsum(math.exp(beam.logit_score) for beam in decoded.beams) <= 1 + 1e-9
        for beam in decoded.beams:
            assert beam.text == " ".join(word.word for word in beam.words)
            assert "".join(char.char for char in beam.chars) == beam.text.replace(" ", "")
            for spans in (beam.words, beam.chars):
                times = [time for _, start, end, *_ in spans for time in (start, end)]
                assert times == sorted(times) and all(0 <= time <= len(emissions) for time in times)
                assert all(start < end for _, start, end, *_ in spans)
            assert all(0 < word.confidence <= 1 + 1e-12 for word in beam.words)
        assert all(0 < p <= 1 for p in decoded.word_posteriors())


# --- default mode, against KenLM --------------------------------------------------------------------------------------


def test_a_text_costs_what_kenlm_says_however_it_was_reached(
    lms: dict[int, str], kenlms: dict[str, KenlmScorer]
) -> None:
    """Faults 1 and 2: a space at the end made an unknown word of nothing, and the last path merged decided whether."""
    kenlm = pytest.importorskip("kenlm")
    models = {path: kenlm.Model(path) for path in lms.values()}
    seen_spaces = 0
    for seed in range(500, 620):
        problem = problems.draw(seed, lms)
        if len(problem.models) != 1 or problem.hotwords or not len(problem.logits):
            continue
        (small,) = problem.models
        model, weights = models[small.arpa], small.weights
        # The list that is given holds no more than the model: all others are unknown.
        known = set(problems.WORDS) if small.unigrams is None else set(small.unigrams) & set(problems.WORDS)
        seen_spaces += bool(
            (problem.logits[-1].argmax() == np.array([label in " |" for label in problem.labels])).any()
        )
        for beam in one(search_of(problem, kenlms), log_softmax(problem.logits), problem.options).beams:
            words = beam.text.split()
            log10 = model.score(beam.text, bos=weights.score_boundary, eos=weights.score_boundary)
            num_unknown = sum(word not in (known or problems.WORDS) for word in words)
            expected = weights.alpha * LN10 * (log10 + num_unknown * weights.unk_score_offset)
            expected += weights.beta * len(words)
            assert beam.score - beam.logit_score == pytest.approx(expected, abs=1e-4), f"seed {seed}: {beam.text}"
    assert seen_spaces


def test_a_space_at_the_end_changes_no_score(lms: dict[int, str], kenlms: dict[str, KenlmScorer]) -> None:
    """Fault 1, with the size that the fault had."""
    labels = ("", " ", *"THEFIL")
    gap = {}
    for compat in (False, True):
        search = PlainBeamSearch(Alphabet.build(labels), [WordModel(kenlms[lms[3]], problems.WORDS)], compat)
        ends = [one(search, certain(labels, [*"THE FILE", last])).beams[0] for last in ("", " ")]
        assert [beam.text for beam in ends] == ["THE FILE"] * 2
        lm = [beam.score - beam.logit_score for beam in ends]
        gap[compat] = lm[0] - lm[1]
    assert gap[False] == 0
    assert gap[True] > 8


def test_words_keep_the_times_of_their_best_path() -> None:
    """Fault 3: the last path that was merged set the times, which is the least probable one."""
    labels = ("", "A", " ")
    emissions = emissions_of(labels, [{"A": 0.98, "": 0.015}, *[{"": 0.97, "A": 0.025}] * 4])
    starts = {}
    for compat in (False, True):
        (word,) = one(PlainBeamSearch(Alphabet(labels, False), compat=compat), emissions).beams[0].words
        starts[compat] = word.start, word.end
    assert starts[False] == (0, 1)
    assert starts[True] != (0, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_emissions_that_are_no_numbers_fail_alone(bad: float) -> None:
    """Fault 6: a crash inside max()."""
    good = certain(("", "A", " "), ["A", ""])
    poisoned = good.copy()
    poisoned[1, 2] = bad
    hopeless = good.copy()
    hopeless[1] = -math.inf
    search = PlainBeamSearch(Alphabet(("", "A", " "), False))
    first, second, third, fourth = search.decode([good, poisoned, hopeless, good], WIDE)
    assert isinstance(first, Decoded) and first == fourth
    for error in (second, third):
        assert isinstance(error, RecordingError)
        assert error.reason == "emissions that are not numbers" and error.detail == "first in frame 1 of 2"


def test_an_impossible_label_is_no_fault() -> None:
    labels = ("", "A", " ")
    emissions = certain(labels, ["A", ""])
    emissions[0, 2] = -math.inf
    assert one(PlainBeamSearch(Alphabet(labels, False)), emissions, EVERYTHING).beams[0].text == "A"


def test_a_token_that_closes_a_word_closes_it_in_its_own_hypothesis() -> None:
    """Fault 7: one flag for all hypotheses let an improbable ▁⁇▁ split the word of another."""
    labels = ("", "▁BUG", "S", "▁⁇▁")
    emissions = emissions_of(labels, [{"▁BUG": 0.89, "▁⁇▁": 0.1}, {"S": 0.98}])
    texts = {}
    for compat in (False, True):
        found = one(PlainBeamSearch(Alphabet(labels, True), compat=compat), emissions)
        texts[compat] = {beam.text for beam in found.beams}
    assert {"BUGS", "⁇ S"} <= texts[False]
    assert "BUGS" not in texts[True]


def test_a_word_closed_on_both_sides_stays_closed_across_blanks() -> None:
    labels = ("", "▁A", "S", "▁⁇▁", "N▁")
    search = PlainBeamSearch(Alphabet(labels, True))

    def text(*path: str) -> str:
        return one(search, certain(labels, path)).beams[0].text

    assert text("▁⁇▁", "▁⁇▁", "", "S", "S") == "⁇ S"
    assert text("▁⁇▁", "", "▁⁇▁", "▁A", "", "S") == "⁇ ⁇ AS"
    assert text("▁A", "N▁", "S") == "AN S"


def test_without_unigrams_the_models_own_words_are_known(lms: dict[int, str], kenlms: dict[str, KenlmScorer]) -> None:
    """Fault 8: every beginning of a word was an unknown one, so spaces went missing."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        logits = problems.spell(rng, problems.LETTERS, " ".join(rng.choice(problems.WORDS, 4)), 5.0)
        found = [
            one(PlainBeamSearch(Alphabet.build(problems.LETTERS), [WordModel(model, unigrams)]), log_softmax(logits))
            for model, unigrams in (
                (kenlms[lms[3]], None),
                (kenlms[lms[3]], problems.WORDS),
                (LanguageModel.open(lms[3]), None),
            )
        ]
        assert _without_states(found[0]) == _without_states(found[1]) == _without_states(found[2])


@pytest.mark.parametrize("shape", [(0, 3)])
def test_nothing_to_decode_is_an_empty_text_at_no_cost(
    lms: dict[int, str], kenlms: dict[str, KenlmScorer], shape: tuple[int, int]
) -> None:
    """Fault 9: an unknown word was scored."""
    search = PlainBeamSearch(Alphabet(("", "A", " "), False), [WordModel(kenlms[lms[2]])])
    decoded = one(search, np.zeros(shape, np.float32))
    assert _without_states(decoded) == [Beam("", [], 0.0, 0.0)]
    assert decoded.word_posteriors() == []


# --- default mode, the rest -------------------------------------------------------------------------------------------

STRETCHES = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3)), max_size=12)


@given(stretches=STRETCHES)
@settings(deadline=None)
def test_certain_emissions_are_read_as_greedy_decoding_reads_them(stretches: list[tuple[int, int]]) -> None:
    """Silent marks, repeats, double spaces, the times of words: on one path there is nothing to search."""
    vocabulary = Vocabulary(("<pad>", "<s>", "<unk>", "|", *"AaBC"), 0, 3, frozenset({0, 1, 2}), lower_case=True)
    path = [vocabulary.labels[label] for label, length in stretches for _ in range(length)]
    emissions = certain(vocabulary.labels, path).reshape(len(path), len(vocabulary.labels))
    ours = one(PlainBeamSearch(Alphabet.of(vocabulary)), emissions).beams[0]
    theirs = greedy(emissions, vocabulary, 1.0)
    assert ours.text == theirs.text
    assert [(word.word, word.start, word.end) for word in ours.words] == [
        (word.word, word.start_s, word.end_s) for word in theirs.words
    ]
    assert [word.confidence for word in ours.words] == pytest.approx([word.confidence for word in theirs.words])


@pytest.mark.parametrize("compat", [False, True])
def test_chunks_give_what_the_whole_gives(lms: dict[int, str], kenlms: dict[str, KenlmScorer], compat: bool) -> None:
    for seed in range(700, 715):
        problem = problems.draw(seed, lms)
        emissions = log_softmax(problem.logits)
        search = search_of(problem, kenlms, compat)
        stream = search.stream(problem.options, problem.hotwords)
        for at in range(0, len(emissions), 1 + seed % 5):
            stream.feed(emissions[at : at + 1 + seed % 5])
            stream.result()  # may be asked at any time
        whole = one(search, emissions, problem.options, hotwords=problem.hotwords)
        assert _without_states(stream.result()) == _without_states(whole)


@pytest.mark.parametrize("reader", [KenlmScorer, LanguageModel.open])
def test_a_state_carries_the_language_model_to_the_next_recording(lms: dict[int, str], reader: Any) -> None:
    """Score of the first + score of the second, begun with the first's state = KenLM's score of both."""
    kenlm = pytest.importorskip("kenlm")
    labels = ("", " ", *"THEFILSYM")
    weights = LmWeights(alpha=1.0, beta=0.0, score_boundary=False)
    search = PlainBeamSearch(Alphabet(labels, False), [WordModel(reader(lms[3]), problems.WORDS, weights)])
    first = one(search, certain(labels, list("THE FILE"))).beams[0]
    second = one(search, certain(labels, list("SYSTEM")), start=first.lm_state).beams[0]
    together = first.score + second.score - first.logit_score - second.logit_score
    expected = kenlm.Model(lms[3]).score("THE FILE SYSTEM", bos=False, eos=False)
    assert together == pytest.approx(expected * LN10, abs=1e-5)


def test_models_count_by_their_shares(lms: dict[int, str], kenlms: dict[str, KenlmScorer]) -> None:
    def found(*shares: tuple[int, float]) -> list[tuple[str, float]]:
        models = [WordModel(kenlms[lms[order]], problems.WORDS, LmWeights(share=share)) for order, share in shares]
        emissions = log_softmax(problems.spell(np.random.default_rng(1), problems.LETTERS, "THE FILE OF BUGS", 5.0))
        decoded = one(PlainBeamSearch(Alphabet.build(problems.LETTERS), models), emissions)
        return [(beam.text, beam.score - beam.logit_score) for beam in decoded.beams]

    assert found((3, 1.0), (2, 0.0)) == found((3, 1.0))
    assert found((3, 0.3), (2, 0.3)) == found((3, 1.0), (2, 1.0))
    three, two, mixed = dict(found((3, 1.0))), dict(found((2, 1.0))), dict(found((3, 3.0), (2, 1.0)))
    for text in set(three) & set(two) & set(mixed):
        assert mixed[text] == pytest.approx((3 * three[text] + two[text]) / 4)


def test_other_weights_are_those_of_a_new_search(lms: dict[int, str], kenlms: dict[str, KenlmScorer]) -> None:
    problem = replace(problems.draw(7, lms), models=(problems.SmallLm(lms[3], None, LmWeights()),))
    weights = LmWeights(alpha=1.3, beta=-0.5)
    changed = search_of(problem, kenlms).reweighted([weights])
    new = search_of(replace(problem, models=(replace(problem.models[0], weights=weights),)), kenlms)
    emissions = log_softmax(problem.logits)
    assert _without_states(one(changed, emissions)) == _without_states(one(new, emissions))


def test_hotwords_win_over_what_sounds_alike() -> None:
    labels = ("", " ", *"BUGDO")
    emissions = emissions_of(labels, [{"D": 0.6, "B": 0.3}, {"O": 0.6, "U": 0.3}, {"G": 0.99}])
    search = PlainBeamSearch(Alphabet(labels, False))
    assert one(search, emissions).beams[0].text == "DOG"
    hot = one(search, emissions, hotwords=Hotwords(("BUG",))).beams[0]
    assert hot.text == "BUG" and hot.score - hot.logit_score == pytest.approx(10)


def test_effort_beyond_the_limit_narrows_the_search_and_says_so() -> None:
    """A recording of noise may cost a hundred times another's; it must end, and the row must say why it is worse."""
    rng = np.random.default_rng(0)
    emissions = log_softmax(problems.random_emissions(rng, 60, 32, 1.0))
    counted: list[int] = []
    for max_effort in (1e9, 300.0, 1.0):
        search = PlainBeamSearch(Alphabet.build(problems.LETTERS))
        stream = search.stream(replace(WIDE, max_effort=max_effort))
        stream.feed(emissions)
        counted.append(stream._tried)
        assert stream.result().narrowed == (max_effort < 1e9)
        assert stream.result().beams[0].words
    assert counted[0] > 2 * counted[1] > 2 * counted[2]
    assert counted[1] < 300 * 60 + 25 * 32  # the limit, and the frame that went beyond it
    compat = one(
        PlainBeamSearch(Alphabet.build(problems.LETTERS), compat=True), emissions[:6], replace(WIDE, max_effort=1)
    )
    assert not compat.narrowed


def test_posteriors_are_shares_of_the_hypotheses_that_agree() -> None:
    def beam(probability: float, *words: tuple[str, int, int]) -> Beam:
        logp = math.log(probability)
        return Beam(" ".join(w[0] for w in words), [BeamWord(*word, 1.0) for word in words], logp, logp)

    decoded = Decoded(
        [
            beam(0.3, ("THE", 0, 3), ("CAT", 4, 9)),
            beam(0.2, ("THE", 1, 4), ("HAT", 4, 9)),
            beam(0.1, ("A", 0, 3), ("CAT", 9, 12)),  # another CAT: it begins where the first has ended
        ],
        narrowed=False,
    )
    assert decoded.posteriors() == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert decoded.word_posteriors() == pytest.approx([5 / 6, 3 / 6])
    assert decoded.word_posteriors(2) == pytest.approx([1 / 6, 1 / 6])


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3), (4, 5)])
def test_emissions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"two dimensions|columns"):
        PlainBeamSearch(Alphabet(("", "A", " "), False)).decode([np.zeros(shape)], WIDE)


def test_a_missing_or_broken_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    (tmp_path / "bad.arpa").write_text("\\data\\\nngram 1=1\n", encoding="utf-8")
    for name in ("bad.arpa", "none.arpa"):
        with pytest.raises(UsageError, match=name):
            KenlmScorer(str(tmp_path / name))
    assert not isinstance(LanguageModel, WordScorer)
