"""Searches that forget what nobody says any more, against searches that remember everything."""

from typing import Any

import numpy as np
import pytest

from pipeline.decode import streams
from pipeline.decode import work as rows
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.beam import BeamSearch
from pipeline.decode.collect import collect
from pipeline.decode.hypotheses import Beam, WordModel
from pipeline.decode.options import SearchOptions
from pipeline.decode.probabilities import log_probabilities
from pipeline.lm.model import LanguageModel
from tests.decode import problems
from tests.decode.problems import LETTERS


@pytest.fixture(scope="module")
def lms(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    return problems.small_lms(tmp_path_factory.mktemp("lms"))


@pytest.mark.parametrize("compat", [True, False])
def test_forgetting_changes_nothing(compat: bool, lms: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: a number that was not renewed, seen only in some texts, times, states or prunings."""
    num_forgotten = 0
    for seed in range(60):
        problem = problems.draw(seed, lms)
        if compat and problem.labels == problems.CLOSING:
            continue
        models = [WordModel(LanguageModel.open(lm.arpa), lm.unigrams, lm.weights) for lm in problem.models]
        search = BeamSearch(Alphabet.build(problem.labels), models, compat)
        emissions = log_probabilities(problem.logits, compat)
        answers = []
        for collect_from in (1 << 40, 0):
            monkeypatch.setattr(streams, "COLLECT_FROM", collect_from)
            stream = search.stream(problem.options, problem.hotwords, with_chars=True)
            for frame in range(len(emissions)):
                stream.feed(emissions[frame : frame + 1])
                before = stream._work.counts[rows.TEXTS]
                stream._grow(1)
                num_forgotten += before - stream._work.counts[rows.TEXTS]
            answers.append([_told(one) for one in stream.result().beams])
        assert answers[0] == answers[1], problem
    assert num_forgotten > 1000, "nothing was forgotten"


def _told(one: Beam) -> tuple[Any, ...]:
    """All of a hypothesis; what is in a state beyond its length means nothing."""
    states = [(state.words[: state.length].tolist(), state.length) for state in one.lm_state or ()]
    return one.text, one.words, one.chars, one.logit_score, one.score, states


@pytest.mark.parametrize("with_lm", [True, False])
def test_hours_take_no_more_memory_than_their_text(
    with_lm: bool, lms: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The risk: 17 GB for three hours, as it was when all that was tried was kept. Here an eighth of all of it."""
    monkeypatch.setattr(streams, "COLLECT_FROM", streams.COLLECT_FROM // 8)
    rng = np.random.default_rng(0)
    models = [WordModel(LanguageModel.open(lms[3]))] if with_lm else []
    search = BeamSearch(Alphabet.build(LETTERS), models)
    sentence = problems.spell(rng, LETTERS, "THE FILE SYSTEM OPENS THE FILE ", sharpness=5.0)
    emissions = log_probabilities(np.tile(sentence, (190, 1)), compat=False)
    stream = search.stream(SearchOptions(beam_width=50))
    stream.feed(emissions)
    work = stream._work
    assert stream._work.counts[rows.FRAME] == len(emissions) > 7_500
    largest = max(len(work.texts), len(work.nodes), len(work.words), len(work.chars))
    num_tried = work.counts[rows.TRIED]
    assert largest <= 4 * streams.COLLECT_FROM < num_tried / 10
    said = stream.result().beams[0]
    assert len(said.text.split()) == len(said.words) > 190


def test_the_tables_are_those_of_the_rows_that_stayed(lms: dict[int, str]) -> None:
    """The risk: a text entered twice after its row moved, and two hypotheses that say the same kept apart."""
    search = BeamSearch(Alphabet.build(LETTERS), [WordModel(LanguageModel.open(lms[3]))])
    stream = search.stream(SearchOptions())
    stream.feed(log_probabilities(problems.spell(np.random.default_rng(1), LETTERS, "THE FILE SYSTEM "), compat=False))
    collect(stream._work, stream._given)
    rows.refill_tables(stream._work)
    work = stream._work
    entered = np.sort(work.text_slots[work.text_stamps == work.counts[rows.EPOCH]])
    assert entered.tolist() == list(range(1, work.counts[rows.TEXTS]))
    pairs = work.texts[1 : work.counts[rows.TEXTS]][["parent", "word"]].tolist()
    assert len(set(pairs)) == len(pairs)
