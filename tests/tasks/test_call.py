"""The call itself: what it takes, what it refuses, and what importing it costs."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

import pipeline as package
from pipeline import pipeline
from pipeline.errors import UsageError
from pipeline.models import Wav2Vec2ForCTC, Wav2Vec2ForSequenceClassification, Wav2Vec2Model
from pipeline.models.weight_files import CheckpointError
from tests.tasks.checkpoints import Checkpoint, recordings

SPEECH = "automatic-speech-recognition"


def test_importing_the_library_does_no_work_and_the_call_is_where_it_was_said_to_be() -> None:
    """The risk: a second of torch, and memory, for every command that only wants a name."""
    code = """
import sys, pipeline
assert not {"torch", "numpy", "pipeline.tasks", "pipeline.tasks.call"} & set(sys.modules)
assert "pipeline" in dir(pipeline)
import pipeline.errors
assert pipeline.errors.UsageError
try:
    pipeline.pipelines
except AttributeError as error:
    assert "pipelines" in str(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(package.__file__).parents[1])
    assert package.pipeline is pipeline and callable(pipeline)


def test_a_task_that_is_not_said_is_the_models(speech: Checkpoint, classes: Checkpoint) -> None:
    assert pipeline(model=speech("layer"), device="cpu").task == SPEECH
    assert pipeline(model=str(classes("layer")), device=-1).task == "audio-classification"
    assert pipeline(model=Wav2Vec2ForCTC.from_pretrained(speech("layer"))).task == SPEECH
    bare = Wav2Vec2Model.from_pretrained(speech("layer"))
    with pytest.raises(UsageError, match="give a task, automatic-speech-recognition or audio-classification"):
        pipeline(model=bare)


def test_several_recordings_may_be_whatever_can_be_gone_through(speech: Checkpoint) -> None:
    """The risk: a data set that is taken for one recording, or held in memory whole."""
    mine = pipeline(SPEECH, speech("layer"), device="cpu")
    some = recordings()
    expected = mine(some)
    assert mine(tuple(some)) == expected and isinstance(mine(tuple(some)), list)
    assert mine([]) == []

    class Rows(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(some)

        def __getitem__(self, number: int) -> Any:
            return {"raw": some[number], "sampling_rate": 16_000}

    rows = [{"id": number, "audio": {"array": one, "sampling_rate": 16_000}} for number, one in enumerate(some)]
    table = datasets.Dataset.from_list(rows)
    columns = transformers.pipelines.pt_utils.KeyDataset(table.with_format("numpy"), "audio")
    for several in (iter(some), (one for one in some), Rows(), table, table.with_format("torch")["audio"], columns):
        answers = mine(several, batch_size=2)
        assert not isinstance(answers, list)
        if hasattr(several, "__len__"):
            assert len(answers) == len(several), "progress bars ask for it"
        else:
            with pytest.raises(TypeError):
                len(answers)
        assert list(answers) == expected


def test_a_half_precision_is_taken_by_either_name_and_every_answer_is_still_its_own(speech: Checkpoint) -> None:
    for options in ({"dtype": torch.bfloat16}, {"torch_dtype": "bfloat16"}):
        mine = pipeline(SPEECH, speech("layer"), device="cpu", **options)
        assert mine.model.dtype == torch.bfloat16
        assert mine(recordings()[-1])["text"]
    auto = pipeline(SPEECH, speech("layer"), device="cpu", dtype="auto")
    assert auto.model.dtype == torch.float32


def test_a_model_of_the_callers_own_stays_what_it_is(speech: Checkpoint) -> None:
    model = Wav2Vec2ForCTC.from_pretrained(speech("layer"))
    mine = pipeline(SPEECH, model)
    assert mine.model is model and model.prepared is None and next(model.parameters()).requires_grad
    assert mine(recordings()) == pipeline(SPEECH, speech("layer"), device="cpu")(recordings())
    assert pipeline(SPEECH, model, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16


def test_what_code_for_transformers_reads_of_a_pipeline_is_there_and_that_it_is_not_pickled_is_said(
    speech: Checkpoint,
) -> None:
    mine = pipeline(SPEECH, speech("layer"), device="cpu")
    theirs = transformers.pipeline(SPEECH, str(speech("layer")), device="cpu")
    assert (mine.type, mine.dtype, mine.torch_dtype) == (theirs.type, theirs.dtype, theirs.torch_dtype)
    with pytest.raises(UsageError, match="not pickled: give other processes the model's name"):
        pickle.dumps(mine)


def test_a_checkpoint_without_a_tokenizer_takes_one_that_is_given(speech: Checkpoint, tmp_path: Path) -> None:
    """As those have that were trained with a tokenizer from somewhere else."""
    expected = pipeline(SPEECH, speech("layer"), device="cpu")(recordings())
    tokenizer = transformers.AutoTokenizer.from_pretrained(speech("layer"))
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((speech("layer") / file).read_bytes())
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    for given in (tokenizer, speech("layer")):
        assert pipeline(SPEECH, tmp_path, tokenizer=given, device="cpu")(recordings()) == expected
    with pytest.raises(UsageError, match=f"{tmp_path}: there is no tokenizer; give one"):
        pipeline(SPEECH, tmp_path, device="cpu")
    with pytest.raises(UsageError, match="3: there is no feature_extractor"):
        pipeline(SPEECH, tmp_path, feature_extractor=3, device="cpu")


def test_options_of_the_model_and_of_its_config_arrive(speech: Checkpoint) -> None:
    mine = pipeline(SPEECH, speech("layer"), device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert mine.model.attn_implementation == "eager"
    config = transformers.AutoConfig.from_pretrained(speech("layer"), num_attention_heads=2)
    other = pipeline(SPEECH, speech("layer"), config, device="cpu", framework="pt", num_workers=3, use_fast=False)
    assert other.model.config.num_attention_heads == 2
    assert other(recordings(), num_workers=2) != mine(recordings())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "asr"}, "no task 'asr' here; there are automatic-speech-recognition and audio-classification"),
        ({"task": SPEECH, "model": None}, "give a model"),
        ({"task": SPEECH, "model": "/no/such/model"}, "no such directory"),
        ({"task": SPEECH, "devise": "cpu"}, "no argument devise; did you mean device"),
        ({"task": SPEECH, "device": "gpu"}, "'gpu' is not one device"),
        ({"task": SPEECH, "device": "cpu", "device_map": "auto"}, "give one of them"),
        ({"task": SPEECH, "dtype": "float8"}, "dtype float8 is not supported"),
        ({"task": SPEECH, "trust_remote_code": True}, "no code of a checkpoint is ever run"),
        ({"task": SPEECH, "decoder": "/no/such/decoder"}, "no such directory"),
        ({"task": SPEECH, "tokenizer": "/no/such/tokenizer"}, "no such directory"),
    ],
)
def test_what_cannot_be_is_one_clear_error(arguments: dict[str, Any], message: str, speech: Checkpoint) -> None:
    with pytest.raises(UsageError, match=message):
        pipeline(**{"model": speech("layer"), **arguments})


def test_models_of_other_kinds_and_of_other_libraries_are_told_from_ours(
    speech: Checkpoint, classes: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"a model of AutoModelForCTC is needed.*Wav2Vec2ForSequenceClassification"):
        pipeline(SPEECH, Wav2Vec2ForSequenceClassification.from_pretrained(classes("layer")))
    with pytest.raises(UsageError, match=r"this is a transformers\..*Wav2Vec2ForCTC"):
        pipeline(SPEECH, transformers.Wav2Vec2ForCTC.from_pretrained(speech("layer")))
    with pytest.raises(CheckpointError, match="CTC head"):
        pipeline(SPEECH, classes("layer"), device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(CheckpointError, match="'whisper'; AutoModelForCTC reads wav2vec2"):
        pipeline(SPEECH, tmp_path)
