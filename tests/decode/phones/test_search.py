"""The compiled search for words against its plain twin, which `test_plain` holds to brute force, and what users see."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.decode import streams
from pipeline.decode import work as rows
from pipeline.decode.hypotheses import Beam, Decoded, WordModel
from pipeline.decode.likely import top_k
from pipeline.decode.options import BURST, Hotwords, LmWeights, SearchOptions
from pipeline.decode.phones import search as searching
from pipeline.decode.phones.plain import PlainWordSearch
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.search import Stream, WordSearch, alphabet_of
from pipeline.errors import RecordingError, UsageError
from pipeline.lm.model import LanguageModel
from pipeline.text.vocabulary import Vocabulary
from tests.decode import problems
from tests.decode.phones import said
from tests.decode.phones.said import VOCABULARY, Problem

FIXTURES = Path(__file__).parents[2] / "lm" / "fixtures"
REPOSITORY = Path(__file__).parents[3]
A, B, C, D = said.PHONES


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, LanguageModel]:
    lms = problems.small_lms(tmp_path_factory.mktemp("lms"))
    return {order: LanguageModel.open(path) for order, path in lms.items()}


def one(results: list[Decoded | RecordingError]) -> Decoded:
    (result,) = results
    assert isinstance(result, Decoded), result
    return result


def texts(search: WordSearch, *emissions: Any, **more: Any) -> list[str]:
    return [one([result]).beams[0].text for result in search.decode(emissions, SearchOptions(), **more)]


def told(beam: Beam) -> tuple[Any, ...]:
    return beam.text, [word[:3] for word in beam.words], beam.chars


def numbers(beam: Beam) -> list[float]:
    return [beam.logit_score, beam.score, *(word.confidence for word in beam.words)]


def same_beams(ours: Decoded, twins: Decoded, problem: Any = None) -> None:
    assert [told(beam) for beam in ours.beams] == [told(beam) for beam in twins.beams], problem
    for beam, twin in zip(ours.beams, twins.beams, strict=True):
        np.testing.assert_allclose(numbers(beam), numbers(twin), rtol=1e-9, atol=1e-9)
    assert ours.narrowed == twins.narrowed


def decoded_by_both(problem: Problem) -> tuple[Decoded, Decoded]:
    ours = WordSearch(VOCABULARY, problem.lexicon, problem.models)
    twin = PlainWordSearch(alphabet_of(VOCABULARY), problem.lexicon, problem.models)
    asked: Any = ([problem.emissions], problem.options, problem.hotwords)
    return one(ours.decode(*asked, with_chars=True)), one(twin.decode(*asked, with_chars=True))


def test_the_compiled_search_is_its_plain_twin(models: dict[int, LanguageModel]) -> None:
    """All n best: texts, scores, times of words and phones, confidences, whether the beam narrowed."""
    num_narrowed, num_unfinished = 0, 0
    for seed in range(120):
        problem = said.draw(seed, models)
        ours, twins = decoded_by_both(problem)
        same_beams(ours, twins, problem)
        num_narrowed += ours.narrowed
        num_unfinished += len(problem.emissions) > 0 and not ours.beams[0].text
    assert num_narrowed > 5 and num_unfinished > 5, "some cases were not met"


def test_the_language_model_decides_between_homophones(models: dict[int, LanguageModel]) -> None:
    lexicon = [Pronunciation(word, (A,)) for word in ("BASH", "FILE", "BUG")]
    lexicon += [Pronunciation("THE", (B, C)), Pronunciation("SYSTEM", (D,))]
    emissions = said.say([B, C, A, D], sure=30.0)
    search = WordSearch(VOCABULARY, lexicon, [WordModel(models[5], weights=LmWeights(alpha=1.0))])
    ranked = one(search.decode([emissions], SearchOptions(num_best=3, prune_history=False))).beams
    said_by_model = sorted(
        (f"THE {word} SYSTEM" for word in ("BASH", "FILE", "BUG")), key=lambda text: -models[5].score(text)
    )
    assert [beam.text for beam in ranked] == said_by_model
    assert texts(WordSearch(VOCABULARY, lexicon), emissions) == ["THE BASH SYSTEM"], "without one, the lexicon's order"


def test_words_of_which_one_begins_the_other_and_phones_said_twice() -> None:
    lexicon = [
        Pronunciation("six", (A, B)),
        Pronunciation("sixth", (A, B, C)),
        Pronunciation("schools", (B, D)),
        Pronunciation("ha", (C,)),
    ]
    search = WordSearch(VOCABULARY, lexicon)
    best = one(search.decode([said.say([A, B, B, D])], SearchOptions(), with_chars=True)).beams[0]
    assert best.text == "six schools"
    assert [word[:3] for word in best.words] == [("six", 1, 3), ("schools", 4, 6)]
    assert [char[1:] for char in best.chars] == [(1, 2), (2, 3), (4, 5), (5, 6)]
    assert "".join(char.char for char in best.chars) == "abbdʒ"
    assert texts(search, said.say([A, B, C])) == ["sixth"], "neither has a score: the longer word is tried first"
    # Without a blank between them, two phones are one: "six" and then no "schools".
    assert texts(search, said.sure_of([A, B, B, 1])) == ["six"]
    assert texts(search, said.sure_of([A, B, 0, B, D, 4, 1])) == ["six schools"], "what is silent is a blank"


def test_several_pronunciations_of_a_word_are_one_word() -> None:
    lexicon = [Pronunciation("either", (A, B)), Pronunciation("either", (C, B)), Pronunciation("ether", (D, B))]
    frames = np.full((3, len(VOCABULARY.labels)), 1e-6)
    frames[0, [A, C, D]], frames[1, B], frames[2, 1] = (0.3, 0.3, 0.4), 1.0, 1.0
    search = WordSearch(VOCABULARY, lexicon)
    beams = one(search.decode([np.log(frames)], SearchOptions(num_best=9, prune_history=False))).beams
    assert [beam.text for beam in beams] == ["either", "ether"]
    assert math.exp(beams[0].logit_score) == pytest.approx(0.6, abs=1e-4), "both ways to say it are added up"
    assert one(search.decode([np.log(frames)], SearchOptions(num_best=9))).beams == beams[:1], "all texts are alike"


def test_what_no_word_says_ends_before_it() -> None:
    """The risk: a search without hypotheses, or half a word in a text."""
    search = WordSearch(VOCABULARY, [Pronunciation("ab", (A, B)), Pronunciation("abba", (A, B, C, A))])
    beams = one(search.decode([said.say([A, B, A])], SearchOptions(), with_chars=True)).beams
    assert (beams[0].text, [word[:3] for word in beams[0].words]) == ("ab", [("ab", 1, 3)])
    # A phone no word has, again and again, and no blank that is likely.
    (beam,) = one(search.decode([said.sure_of([D] * 50, 60.0)], SearchOptions(num_best=5))).beams
    assert beam.text == "" and beam.words == [] and math.isfinite(beam.score)


@pytest.mark.parametrize("num_models", [0, 1])
def test_little_or_nothing_to_hear(models: dict[int, LanguageModel], num_models: int) -> None:
    search = WordSearch(VOCABULARY, [Pronunciation("FILE", (A,))], [WordModel(models[3])] * num_models)
    nothing = one(search.decode([np.zeros((0, 7))], SearchOptions())).beams
    assert [(beam.text, beam.words, beam.score) for beam in nothing] == [("", [], 0.0)]
    assert texts(search, said.sure_of([A]), said.sure_of([1]), said.sure_of([0])) == ["FILE", "", ""]
    bad = said.say([A, A])
    bad[1, 3] = math.nan
    error, fine = search.decode([bad, said.say([A])], SearchOptions())
    assert isinstance(error, RecordingError) and error.reason == "emissions that are not numbers"
    assert isinstance(fine, Decoded) and fine.beams[0].text == "FILE"


def test_a_hotword_wins_over_what_sounds_alike(models: dict[int, LanguageModel]) -> None:
    lexicon = [Pronunciation("FILE", (A, B)), Pronunciation("bile", (C, B)), Pronunciation("zz", (D,))]
    search = WordSearch(VOCABULARY, lexicon, [WordModel(models[3])])
    frames = said.say([A, B])
    frames[1, C] = frames[1, A] - 3.0
    assert texts(search, frames) == ["FILE"]
    assert texts(search, frames, hotwords=Hotwords(("not in it", "bile"), 30.0)) == ["bile"]
    assert texts(search, frames, hotwords=Hotwords(("bile",), 0.0)) == ["FILE"]


def test_other_weights_are_those_of_a_new_search(models: dict[int, LanguageModel]) -> None:
    rng = np.random.default_rng(3)
    lexicon = said.lexicon_of(rng, 25)
    emissions = [said.emissions_of(rng, lexicon, 6) for _ in range(5)]
    weights = [LmWeights(1.3, -0.5, -3.0, False, share=0.2), LmWeights(0.4, 0.5, -7.0, True)]
    first = WordSearch(VOCABULARY, lexicon, [WordModel(models[3]), WordModel(models[2])])
    before = first.decode(emissions, SearchOptions(num_best=10))
    anew = WordSearch(
        VOCABULARY, lexicon, [WordModel(models[3], weights=weights[0]), WordModel(models[2], None, weights[1])]
    )
    changed = first.reweighted(weights).decode(emissions, SearchOptions(num_best=10))
    assert changed == anew.decode(emissions, SearchOptions(num_best=10)) != before
    assert first.decode(emissions, SearchOptions(num_best=10)) == before, "the search it came from is as it was"
    with pytest.raises(UsageError, match="add up to nothing"):
        first.reweighted([LmWeights(share=0.0)] * 2)


def test_threads_share_a_search(models: dict[int, LanguageModel]) -> None:
    rng = np.random.default_rng(4)
    lexicon = said.lexicon_of(rng, 25)
    emissions = [said.emissions_of(rng, lexicon, int(rng.integers(0, 20))) for _ in range(60)]
    search = WordSearch(VOCABULARY, lexicon, [WordModel(models[3])])
    alone = [one(search.decode([each], SearchOptions(num_best=3), with_chars=True)) for each in emissions]
    assert search.decode(emissions, SearchOptions(num_best=3), threads=3, with_chars=True) == alone


def test_likely_labels_alone_are_as_good_as_all(models: dict[int, LanguageModel]) -> None:
    """Whole frames, the few best of each, other float types, and emissions fed frame by frame."""
    rng = np.random.default_rng(5)
    lexicon = said.lexicon_of(rng, 25)
    emissions = said.emissions_of(rng, lexicon, 12)
    search, options = WordSearch(VOCABULARY, lexicon, [WordModel(models[3])]), SearchOptions(token_min_logp=-4)
    whole = one(search.decode([emissions], options, with_chars=True))
    same_beams(one(search.decode([top_k(emissions, 7)], options, with_chars=True)), whole)
    stream = Stream(search, options, (searching.NO_HOTWORDS, search._ahead, 0.0), with_chars=True)
    for frame in range(len(emissions)):
        stream.feed(emissions[frame : frame + 1])
        stream.result()
    same_beams(stream.result(), whole)


def test_forgetting_changes_nothing(models: dict[int, LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: a number that was not renewed, seen only in some texts, times, states or mergings."""
    num_forgotten = 0
    for seed in range(60):
        problem = said.draw(seed, models)
        search = WordSearch(VOCABULARY, problem.lexicon, problem.models)
        hot, ahead = search._hot(problem.hotwords)
        weight = problem.hotwords.weight if problem.hotwords else 0.0
        answers = []
        for collect_from in (1 << 40, 0):
            monkeypatch.setattr(streams, "COLLECT_FROM", collect_from)
            stream = Stream(search, problem.options, (hot, ahead, weight), with_chars=True)
            for frame in range(len(problem.emissions)):
                stream.feed(problem.emissions[frame : frame + 1])
                before = stream._work.counts[rows.TEXTS]
                stream._grow(1)
                num_forgotten += before - stream._work.counts[rows.TEXTS]
            answers.append(stream.result())
        assert answers[0] == answers[1], problem
    assert num_forgotten > 1000, "nothing was forgotten"


def test_hours_take_no_more_memory_than_their_text(models: dict[int, LanguageModel]) -> None:
    rng = np.random.default_rng(0)
    lexicon = said.lexicon_of(rng, 30)
    emissions = np.tile(said.emissions_of(rng, lexicon, 20), (500, 1))
    search = WordSearch(VOCABULARY, lexicon, [WordModel(models[3])])
    stream = Stream(search, SearchOptions(beam_width=50), (searching.NO_HOTWORDS, search._ahead, 0.0), with_chars=True)
    stream.feed(emissions)
    work = stream._work
    assert work.counts[rows.FRAME] == len(emissions) > 30_000
    largest = max(len(work.texts), len(work.words), len(work.chars))
    assert largest <= 4 * streams.COLLECT_FROM < work.counts[rows.TRIED] / 10
    best = stream.result().beams[0]
    assert len(best.text.split()) == len(best.words) > 3000


@pytest.mark.parametrize(
    ("lexicon", "fault"),
    [
        ([], "no words"),
        ([("a b", (A,))], "'a b'"),
        ([("", (A,))], "''"),
        ([("ab", ())], "'ab' has no phones"),
        ([("ab", (A, 1))], "'ab' has 1, no phone"),
        ([("ab", (A, 4))], "'ab' has 4, no phone"),
        ([("ab", (7,))], "'ab' has 7, no phone"),
        ([("ab", (-1,))], "'ab' has -1, no phone"),
    ],
)
def test_a_lexicon_that_cannot_be_searched_is_refused(lexicon: list[Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        WordSearch(VOCABULARY, [Pronunciation(*each) for each in lexicon])


def test_what_does_not_fit_is_refused() -> None:
    search = WordSearch(VOCABULARY, [Pronunciation("a", (A,))])
    with pytest.raises(UsageError, match="8 columns"):
        search.decode([np.zeros((3, 8))], SearchOptions())
    with pytest.raises(UsageError, match="compat"):
        search.decode([np.zeros((3, 7))], SearchOptions(compat=True))
    with pytest.raises(UsageError, match="threads"):
        search.decode([np.zeros((3, 7))], SearchOptions(), threads=0)


def test_many_homophones_and_labels_in_one_frame_have_room() -> None:
    """The risk: rows written beyond their arrays, where one hypothesis becomes thousands."""
    vocabulary = Vocabulary(("", *(f"p{n}" for n in range(50))), blank=0, delimiter=None, silent=frozenset({0}))
    lexicon = [Pronunciation(f"w{n}-{k}", (n,)) for n in range(1, 51) for k in range(40)]
    doubtful = np.full((3, 51), -math.log(51))
    beams = one(
        WordSearch(vocabulary, lexicon).decode(
            [doubtful], SearchOptions(beam_width=1500, num_best=1500, prune_history=False, max_effort=1e12)
        )
    ).beams
    assert len({beam.text for beam in beams}) == len(beams) > 1000


def test_many_homophones_are_effort_and_take_no_more_memory_than_it_allows() -> None:
    """The risk: gigabytes for a lexicon that says thousands of words alike, and a row that does not tell of it."""
    lexicon = tuple(Pronunciation(f"w{n}", (A,)) for n in range(2000))
    search = WordSearch(VOCABULARY, lexicon)
    emissions = said.say([A] * 25)
    options = SearchOptions(num_best=100, prune_history=False)
    stream = Stream(search, options, (searching.NO_HOTWORDS, search._ahead, 0.0), with_chars=True)
    stream.feed(emissions)
    told = stream.result()
    assert told.narrowed and len(told.beams[0].words) == 25
    most = BURST * options.max_effort
    assert len(stream._work.candidates) <= 2 * most and len(stream._work.texts) <= 4 * most
    few = Problem(lexicon[:60], emissions, (), None, replace(options, max_effort=20.0))
    ours, twins = decoded_by_both(few)
    same_beams(ours, twins)
    assert ours.narrowed
    assert not one(search.decode([said.say([A])], SearchOptions())).narrowed


WARMED_UP = """
import numpy as np
from pipeline.decode import collect, likely, work
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import Hotwords, SearchOptions
from pipeline.decode.phones import kernel, readout, tree
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.search import WordSearch, warm_up
from pipeline.decode.likely import top_k
from pipeline.lm.model import LanguageModel
from pipeline.text.vocabulary import Vocabulary
import sys

warm_up()
compiled = [kernel.run, kernel.finish, readout.read_out, likely._sparse, likely._first_bad, likely._thinned]
compiled += [work._rows_needed, work._enter_texts, collect.collect, tree._summed]
before = [len(function.signatures) for function in compiled]
assert all(before), before
models = [WordModel(LanguageModel.open(path)) for path in sys.argv[1:]]
vocabulary = Vocabulary(("", "|", "a"), blank=0, delimiter=1, silent=frozenset({0}))
emissions = np.full((5, 3), -np.log(3))
for some in ([], models[:1], models):
    search = WordSearch(vocabulary, [Pronunciation("a", (2,)), Pronunciation("b", (2, 2))], some)
    for one in (emissions, emissions.astype(np.float32), emissions.astype(np.float16), top_k(emissions, 2)):
        search.decode([one], SearchOptions(beam_prune_logp=-10, max_effort=100), Hotwords(("a",), 10), with_chars=True)
assert [len(function.signatures) for function in compiled] == before
"""


def test_warming_up_compiles_all_that_a_search_will_need() -> None:
    """In a process of its own: here, other tests have compiled everything."""
    paths = [str(FIXTURES / "order3.probing"), str(FIXTURES / "order6.trie")]
    done = subprocess.run([sys.executable, "-c", WARMED_UP, *paths], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
