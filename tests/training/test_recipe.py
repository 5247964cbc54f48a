"""What a training is: rates that never are zero or jump, shapes that transformers knows, and numbers refused early."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoFeatureExtractor, get_wsd_schedule

from pipeline.errors import UsageError
from pipeline.models.auto import AutoModelForCTC
from pipeline.text.features import FeatureExtractor
from pipeline.training.recipe import EXTRACTORS, SHAPES, Recipe

RECIPE = Recipe(steps=1000, learning_rate=0.01, warm_up=100, decay_share=0.2)


def test_the_rate_is_that_of_transformers_schedule():
    """Theirs begins with a step at zero, which would be a step for nothing: ours is one ahead until it is level."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RECIPE.learning_rate)
    schedule = get_wsd_schedule(optimiser, 100, 200, num_training_steps=1000, decay_type="linear")
    theirs = []
    for _ in range(RECIPE.steps):
        theirs.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    ours = [RECIPE.rate(step) for step in range(RECIPE.steps)]
    np.testing.assert_allclose(ours[:100], theirs[1:101], rtol=1e-6)
    np.testing.assert_allclose(ours[100:], theirs[100:], rtol=1e-6)


@pytest.mark.parametrize("warm_up", [0, 1, 7, 500])
@pytest.mark.parametrize("decay_share", [0.01, 0.25, 1.0])
def test_no_step_is_for_nothing_and_none_is_beyond_the_rate(warm_up, decay_share):
    recipe = Recipe(steps=10, warm_up=warm_up, decay_share=decay_share)
    assert all(0 < recipe.rate(step) <= recipe.learning_rate for step in range(10))


def test_more_steps_change_nothing_of_those_that_were_level_already():
    """Else a training that is made longer midway would not be what it would have been."""
    longer = Recipe(steps=5000, learning_rate=0.01, warm_up=100, decay_share=0.2)
    assert [RECIPE.rate(step) for step in range(800)] == [longer.rate(step) for step in range(800)]


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: value} for name in ("steps", "batch_s", "learning_rate") for value in (0, -1, math.nan, math.inf)),
        *({"decay_share": value} for value in (0, 1.5, math.nan)),
        {"seed": -1},
    ],
    ids=str,
)
def test_what_could_only_end_badly_is_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Recipe(**wrong)


@pytest.mark.parametrize("family", SHAPES)
def test_shapes_are_small_and_of_twenty_milliseconds_a_frame(family):
    """The bundled model must fit a repository in 16 bits, and texts are measured in frames of 320 samples."""
    shape = {**SHAPES[family], "vocab_size": 32, "pad_token_id": 0}
    theirs = AutoConfig.for_model(family, **shape)
    assert {name: getattr(theirs, name) for name in shape} == shape
    ours = AutoModelForCTC.class_of(family, "a test").config_class.from_dict({"model_type": family, **shape})
    with torch.device("meta"):
        model = AutoModelForCTC.from_config(ours)
    assert 2 * model.num_parameters() < 8e6
    assert FeatureExtractor.from_settings(EXTRACTORS[family]).framing(model).samples_per_frame == 320


@pytest.mark.parametrize("family", SHAPES)
def test_extractors_open_in_transformers_and_say_there_what_they_say_here(family, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(EXTRACTORS[family]))
    theirs = AutoFeatureExtractor.from_pretrained(tmp_path).to_dict()
    assert {name: theirs[name] for name in EXTRACTORS[family]} == EXTRACTORS[family]
