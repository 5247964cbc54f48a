"""Configuration that is wrong must say so; configuration that is right must mean the same on every resume."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pipeline.config import Config, EncodeConfig, ReadConfig, load
from pipeline.decode.options import FOR_PHONES, SearchOptions
from pipeline.errors import UsageError
from pipeline.models.precision import Precision


def refusal(*overrides: str, toml: str | bytes | None = None, directory: Path | None = None) -> str:
    path = None
    if toml is not None:
        assert directory is not None
        path = directory / "c.toml"
        path.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    with pytest.raises(UsageError) as caught:
        load(str(path) if path else None, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("read.max_duration=3", "unknown configuration key read.max_duration; did you mean read.max_duration_s?"),
        ("decode.model=x", "unknown configuration key decode.model; did you mean "),
        ("encod.model=x", "unknown configuration section encod; did you mean encode?"),
        ("zzz.model=x", "unknown configuration section zzz; known: decode, encode, read, run, score"),
        ("read.limit=many", "read.limit = 'many': expected a whole number or none"),
        ("read.limit=1.5", "read.limit = 1.5: expected a whole number or none"),
        ("read.limit=true", "read.limit = True: expected a whole number or none"),
        ("read.max_duration_s=long", "read.max_duration_s = 'long': expected a number"),
        ("read.max_rate_hz=0", "read.max_rate_hz must be above zero and finite, not 0"),
        ("read.max_unpacked_gb=-1", "read.max_unpacked_gb must be above zero and finite, not -1.0"),
        ("read.storage_deadline_s=0", "read.storage_deadline_s must be above zero and finite, not 0.0"),
        ("read.source=tar", "read.source = 'tar': expected auto or files or parquet or jsonlines or csv or webdataset"),
        ("read.channels=both", "read.channels = 'both': expected mix or each or a whole number"),
        ("read.channels=true", "read.channels = True: expected mix or each or a whole number"),
        ("read.channels=1.0", "read.channels = 1.0: expected mix or each or a whole number"),
        ("read.channels=-1", "read.channels must be mix, each, or a number from 0, not -1"),
        ("read.changed=ignore", "read.changed = 'ignore': expected refuse or reread"),
        ("encode.model=3", "encode.model = 3: expected text"),
        ("encode.device=tpu", "encode.device = 'tpu': expected auto or cpu or cuda"),
        ("encode.device=[]", "encode.device = []: expected auto or cpu or cuda"),
        ("encode.precision=fp8", "encode.precision = 'fp8': expected fp32 or bf16 or fp16 or int8"),
        ("encode.batch_s=0", "encode.batch_s must be above zero and finite, not 0.0"),
        ("encode.window_s=inf", "encode.window_s must be above zero and finite, not inf"),
        ("encode.overlap_s=30", "encode.overlap_s must be from 0 to under half of encode.window_s = 60, not 30"),
        ("encode.overlap_s=-1", "encode.overlap_s must be from 0 to under half of encode.window_s = 60, not -1"),
        ("encode.overlap_s=nan", "encode.overlap_s must be from 0 to under half of encode.window_s = 60, not nan"),
        ("read.limit=0", "read.limit must be above zero and finite, not 0"),
        ("read.unit_s=-1", "read.unit_s must be above zero and finite, not -1.0"),
        ("read.max_duration_s=nan", "read.max_duration_s must be above zero and finite, not nan"),
        ("read.max_duration_s=inf", "read.max_duration_s must be above zero and finite, not inf"),
        ("run.max_failed_share=1.5", "run.max_failed_share is a share between 0 and 1, not 1.5"),
        ("run.max_failed_share=nan", "run.max_failed_share is a share between 0 and 1, not nan"),
        ("read.limit", "--set read.limit: give it as section.key=value"),
        ("limit=3", "--set limit=3: give it as section.key=value"),
        ("", "--set : give it as section.key=value"),
        ("decode.decoder=gready", "decode.decoder = 'gready': expected auto or native or greedy"),
        ("decode.lm=3", "decode.lm = 3: expected text"),
        ("decode.lm=['a', 3]", "decode.lm = 3: expected text"),
        ("decode.lm_shares=[1, 2]", "decode.lm_shares has 2 numbers for 0 language models"),
        ("decode.beam_width=0", "decode.beam_width must be above zero and finite, not 0"),
        ("decode.beam_prune_logp=3", "decode.beam_prune_logp is a natural logarithm, at most 0, not 3.0"),
        ("decode.alpha=nan", "decode.alpha must be finite, not nan"),
        ("decode.compat=1", "decode.compat = 1: expected true or false"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named_with_what_can(override: str, message: str) -> None:
    assert refusal(override).startswith(message)


def test_the_precisions_that_can_be_configured_are_those_that_there_are() -> None:
    """Written down twice: reading a configuration must not import torch."""
    assert get_args(get_type_hints(EncodeConfig)["precision"]) == get_args(Precision)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(toml="[read\n", directory=tmp_path).startswith(f"configuration file {tmp_path}/c.toml is not TOML")
    assert refusal(toml=b"\xff\xfe", directory=tmp_path).startswith(f"configuration file {tmp_path}/c.toml is not TOML")
    assert refusal(toml="read = 3", directory=tmp_path) == "configuration: read is a section, not a value"
    assert refusal("read.limit=1", toml="read = 3", directory=tmp_path).endswith("read is a section, not a value")
    with pytest.raises(UsageError, match="No such file"):
        load(str(tmp_path / "gone.toml"))
    with pytest.raises(UsageError, match="Is a directory"):
        load(str(tmp_path))


def test_the_command_line_wins_over_the_file_and_the_last_word_over_the_first(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[read]\nlimit = 1\nid_column = "é"\nunit_s = 60\n[encode]\nmodel = "m"\n', encoding="utf-8")
    config = load(str(path), ["read.limit=2", "encode.device=cpu", "read.limit=3", "read.id_column=none"])
    assert config.read == ReadConfig(limit=3, unit_s=60.0, id_column=None)
    assert type(config.read.unit_s) is float  # 60 and 60.0 would be two fingerprints
    assert (config.encode.model, config.encode.device) == ("m", "cpu")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.bin", ("a.bin",)),
        ("['a.bin', \"b c.arpa\"]", ("a.bin", "b c.arpa")),
        ("none", ()),
        ("[]", ()),
    ],
)
def test_one_language_model_or_several(text: str, value: Any) -> None:
    assert load(None, [f"decode.lm={text}"]).decode.lm == value


@pytest.mark.parametrize(
    ("text", "value"), [("none", None), ("abc", "abc"), ('"abc"', "abc"), (" a b ", "a b"), ("a=b", "a=b"), ("", "")]
)
def test_words_need_no_quotes(text: str, value: Any) -> None:
    assert load(None, [f"read.id_column={text}"]).read.id_column == value


@pytest.mark.parametrize(("text", "value"), [("mix", "mix"), ('"each"', "each"), ("0", 0), ("7", 7)])
def test_channels_are_a_word_or_a_number(text: str, value: Any) -> None:
    assert load(None, [f"read.channels={text}"]).read.channels == value


@pytest.mark.parametrize("limit", [key.name for key in fields(ReadConfig) if key.name.startswith("max_")])
def test_a_limit_may_be_raised_to_try_again_what_failed_by_it(limit: str) -> None:
    assert fingerprinted(f"read.{limit}=7") == Config().that_shape_results()


def fingerprinted(override: str) -> dict[str, Any]:
    return load(None, [override]).that_shape_results()


@pytest.mark.parametrize(
    "override",
    [
        *(
            "encode.device=cpu",
            "encode.actors=2",
            "encode.threads=3",
            "encode.batch_s=5",
            "decode.actors=2",
            "decode.threads=2",
        ),
        *("read.max_memory_gb=1", "read.decode_timeout_s=5", "read.storage_deadline_s=5", "read.changed=reread"),
        *("run.cpus=1", "run.address=auto", "run.max_failed_share=0.5", "run.log_every_s=1"),
    ],
)
def test_a_run_may_be_resumed_on_another_machine(override: str) -> None:
    assert fingerprinted(override) == Config().that_shape_results()


@pytest.mark.parametrize(
    "override",
    [
        *("encode.model=m", "read.limit=5", "read.unit_s=60", "read.source=files"),
        *("read.channels=each", "read.channels=1"),
        *("read.id_column=x", "read.reference_column=x", "encode.keep_emissions=true"),
        *("encode.precision=bf16", "encode.language=fra"),
        *("score.language=de", "score.normalizer=basic", "decode.lexicon=x", "decode.phone_map=x"),
        *("encode.whole_s=60", "encode.window_s=30", "encode.overlap_s=3"),
        *("decode.lm=x", "decode.beam_width=5", "decode.compat=true", "decode.num_best=2", "decode.hotword_weight=1"),
    ],
)
def test_a_run_may_not_be_resumed_with_what_changes_its_rows(override: str) -> None:
    key, _, _ = override.partition("=")
    there, wanted = Config().that_shape_results(), fingerprinted(override)
    assert {name for name in there if there[name] != wanted[name]} == {key}


def test_a_width_that_is_set_counts_and_the_others_are_the_search_s_own():
    """Words in phones need another width than letters; what somebody set must survive that."""
    decode = load(None, ["decode.token_min_logp=-9"]).decode
    assert decode.search(FOR_PHONES) == replace(FOR_PHONES, token_min_logp=-9.0)
    assert decode.search() == SearchOptions(token_min_logp=-9.0)
