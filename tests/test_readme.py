"""The README must not go stale: every command, key and column it names exists, and every one that exists is named."""

import argparse
import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from jobs.__main__ import JOBS, module_of
from pipeline.config import Config
from pipeline.decode.options import LmWeights
from pipeline.records import SCHEMA

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_configuration_key_is_in_the_table_and_none_else():
    keys = {
        f"{section.name}.{key.name}"
        for section in dataclasses.fields(Config)
        for key in dataclasses.fields(getattr(Config(), section.name))
    }
    table = "\n".join(line for line in README.splitlines() if re.match(r"\| `(read|encode|decode|score|run)\.", line))
    assert set(re.findall(r"`((?:read|encode|decode|score|run)\.\w+)`", table)) == keys


def test_the_defaults_in_the_table_are_those_of_the_configuration():
    found = re.findall(r"^\| ((?:`\w+\.\w+`(?:, )?)+) \| ([-\d., ]+) \|", README, re.MULTILINE)
    assert len(found) >= 10  # rows whose defaults are numbers: that the pattern still fits the table
    for keys, default in found:
        names, values = re.findall(r"`(\w+)\.(\w+)`", keys), re.sub(r",(?=\d{3})", "", default).split(", ")
        for (section, key), value in zip(names, values, strict=True):
            config = getattr(Config(), section)
            known = getattr(config, key) if getattr(config, key) is not None else getattr(LmWeights, key)
            assert known == float(value), key


def test_every_job_is_named_and_no_other():
    assert set(re.findall(r"`nightshift ([\w-]+)", README)) == set(JOBS)


def test_no_figure_is_left_to_be_filled_in():
    assert not re.findall(r"\b[A-Z0-9]{3,}ROW\b|OWNERRORS|TODO|TBD|XXX", README)


def flags_of(job: str) -> set[str]:
    parser = argparse.ArgumentParser()
    importlib.import_module(module_of(job)).add_arguments(parser)
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("job", JOBS)
def test_every_flag_that_is_named_exists(job):
    commands = re.findall(rf"nightshift {job} [^`\n]*", README)
    commands += re.findall(rf"^- \*\*`nightshift {job} .*?(?=^- |^$)", README, re.MULTILINE | re.DOTALL)  # its bullet
    for text in commands:
        assert set(re.findall(r"--[a-z-]+", text)) <= flags_of(job)


def test_every_other_flag_is_some_command_s():
    named = set(re.findall(r"`(--[a-z-]+)", README))
    assert len(named) >= 15
    assert named <= set().union(*map(flags_of, JOBS))


def test_every_column_is_in_the_table():
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {name for name in SCHEMA.names if not name.startswith("char_")} <= named


def test_every_target_and_path_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    tree = re.search(r"```\npipeline/ .*?```", README, re.DOTALL)
    assert tree is not None
    for line in tree[0].splitlines()[1:-1]:
        for name in re.findall(r"^\s*((?:\w+(?:\.py|/) ?)+)", line)[0].split():
            assert (ROOT / name).exists() or (ROOT / "pipeline" / name).exists(), name


def test_every_module_of_the_library_is_in_the_tree():
    tree = README[README.index("```\npipeline/ ") :]
    for path in (ROOT / "pipeline").iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            assert re.search(rf"\b{re.escape(path.name)}\b", tree), path.name


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
