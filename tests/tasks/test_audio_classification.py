"""Recordings to classes: against transformers' pipeline on each recording alone; and alone against in company."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from pipeline import pipeline
from pipeline.errors import UsageError
from pipeline.models import Wav2Vec2ForSequenceClassification
from tests.tasks.checkpoints import FAMILIES, Checkpoint, class_checkpoint, recording, recordings

TASK = "audio-classification"
TOLERANCE = 2e-5  # on scores up to 1
IN_COMPANY = 1e-6  # what a recording's scores may feel of its neighbours: the rounding of products of other shapes

Answer = list[dict[str, Any]]


def ours(model: Any, **options: Any) -> Any:
    return pipeline(TASK, model=model, device="cpu", **options)


def oracle(model: Path, **options: Any) -> Any:
    return transformers.pipeline(TASK, model=str(model), device="cpu", **options)


def differences(answers: list[Answer], expected: list[Answer]) -> float:
    """The largest between scores, where all labels are the same and in the same order."""
    assert [[one["label"] for one in answer] for answer in answers] == [[one["label"] for one in x] for x in expected]
    scores, others = ([one["score"] for answer in some for one in answer] for some in (answers, expected))
    return max(abs(one - other) for one, other in zip(scores, others, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_and_scores_are_those_of_transformers_on_each_recording_alone_whatever_is_beside_it(
    family: str, classes: Checkpoint, record_property: Any
) -> None:
    """The risks: a mean over somebody else's frames, or over padding; a label of another number."""
    theirs, mine = oracle(classes(family)), ours(classes(family))
    expected = [theirs(one.copy()) for one in recordings()]
    assert len({answer[0]["score"] for answer in expected}) == len(expected)
    alone = [mine(one) for one in recordings()]
    assert differences(alone, expected) < TOLERANCE
    felt = max(differences(mine(recordings(), batch_size=batch_size), alone) for batch_size in (None, 2, 3))
    assert felt < IN_COMPANY
    record_property(f"scores of {family} alone and in company differ by", f"{felt:.1e}")


def test_as_many_classes_are_told_as_are_asked_for(classes: Checkpoint) -> None:
    """Of transformers only what is asked for at the call counts, not what was at making."""
    theirs, mine, one = oracle(classes("layer")), ours(classes("layer")), recording(16_000)
    for top_k in (1, 3, 7, 100):
        expected = theirs(one, top_k=top_k)
        assert differences([mine(one, top_k=top_k), ours(classes("layer"), top_k=top_k)(one)], [expected] * 2) < 2e-5
    assert len(mine(one)) == len(theirs(one)) == 7


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
def test_scores_are_what_is_asked_for(function: str, classes: Checkpoint) -> None:
    theirs, mine, one = oracle(classes("layer")), ours(classes("layer")), recording(16_000)
    expected = theirs(one, function_to_apply=function)
    assert differences([mine(one, function_to_apply=function)], [expected]) < TOLERANCE


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "single_label_classification"])
def test_scores_are_what_the_kind_of_problem_says(problem: str, tmp_path: Path) -> None:
    directory = class_checkpoint(tmp_path, "layer", problem_type=problem)
    one = recording(16_000)
    assert differences([ours(directory)(one)], [oracle(directory)(one)]) < TOLERANCE


def test_a_mixture_of_layers_is_what_checkpoints_were_trained_with(tmp_path: Path) -> None:
    """superb's checkpoints: models with norms after the layers, of whose states version 5 has the right ones too."""
    directory, one = class_checkpoint(tmp_path, "group", use_weighted_layer_sum=True), recording(16_000)
    assert differences([ours(directory)(one)], [oracle(directory)(one)]) < TOLERANCE


def test_a_recording_that_cannot_be_classified_is_named_and_those_before_it_have_their_classes(
    classes: Checkpoint,
) -> None:
    mine, good = ours(classes("group")), recording(16_000)
    for bad, message in (
        (np.stack([good, good]), r"inputs\[2\]: an array of shape \(2, 16000\) where \(samples,\) is wanted"),
        (recording(300), r"inputs\[2\]: shorter than 25 ms"),
        (np.full(16_000, np.inf, np.float32), r"inputs\[2\]: samples that are not numbers"),
    ):
        for batch_size in (None, 2, 3, 4):
            answers = mine(iter([good, good, bad, good]), batch_size=batch_size)
            assert differences([next(answers), next(answers)], [mine(good)] * 2) < IN_COMPANY
            with pytest.raises(UsageError, match=message):
                next(answers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k is a whole number from 1 on, not 0"),
        ({"top_k": 2.5}, "not 2.5"),
        ({"function_to_apply": "tanh"}, "function_to_apply is softmax, sigmoid, none, not 'tanh'"),
        ({"topk": 3}, "no argument topk; did you mean top_k"),
        ({"chunk_length_s": 3}, "no argument chunk_length_s"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str, classes: Checkpoint) -> None:
    with pytest.raises(UsageError, match=message):
        ours(classes("group"), **options)
    with pytest.raises(UsageError, match=message):
        ours(classes("group"))(recordings(), **options)


def test_a_model_of_the_callers_own_is_taken_as_it_is(classes: Checkpoint) -> None:
    model = Wav2Vec2ForSequenceClassification.from_pretrained(classes("layer"))
    assert differences(ours(model)(recordings()), ours(classes("layer"))(recordings())) < TOLERANCE
    assert model.prepared is None and next(model.parameters()).requires_grad, "it can still be trained"
