"""Which package knows which: shards neither of who lists them nor of who reads them, reading nothing of listing."""

import ast
from pathlib import Path

import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent


def imported(package: str) -> set[str]:
    """The packages within `pipeline` that its modules import, wherever in them."""
    names = set[str]()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("pipeline.")}


@pytest.mark.parametrize(("package", "others"), [("shards", {"read", "sources"}), ("read", {"sources"})])
def test_no_package_knows_those_that_are_made_of_it(package: str, others: set[str]) -> None:
    known = imported(package)
    assert "errors" in known
    assert not known & others
