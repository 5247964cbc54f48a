"""Decoder directories: written so that pyctcdecode reads them, read as it writes them, and their faults named."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.directory import read_directory, write_directory
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import LmWeights
from pipeline.errors import UsageError
from pipeline.lm.model import LanguageModel
from tests.decode import problems

LABELS = ("", "|", *"THEFILSYOPNÄ⁇")
WEIGHTS = LmWeights(alpha=0.7, beta=2.0, unk_score_offset=-3.5, score_boundary=False)
SENTENCES = ["THE FILE", "OPEN THE SYÄSTEM"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # pyctcdecode's
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    path = tmp_path_factory.mktemp("lm") / "two.arpa"
    return problems.write_small_arpa(path, np.random.default_rng(0), 2, SENTENCES)


@pytest.fixture
def written(tmp_path: Path, arpa: Path) -> Path:
    """A good directory, for tests to spoil."""
    model = WordModel(LanguageModel.open(str(arpa)), ["THE", "SYÄSTEM", "MISSING"], WEIGHTS)
    write_directory(tmp_path / "decoder", Alphabet.build(LABELS), model, compat=False)
    return tmp_path / "decoder"


def test_what_was_written_is_read(written: Path) -> None:
    found = read_directory(str(written))
    assert found.alphabet == Alphabet.build(LABELS)
    assert found.unigrams == ("SYÄSTEM", "THE")  # of those that were given, the ones that the model has
    assert found.weights == WEIGHTS
    assert LanguageModel.open(str(found.model)).order == 2


def test_pyctcdecode_reads_what_we_write(written: Path) -> None:
    decoder = pytest.importorskip("pyctcdecode").BeamSearchDecoderCTC.load_from_dir(str(written))
    assert tuple(decoder._alphabet.labels) == Alphabet.build(LABELS).labels
    model = decoder._language_model
    assert model._unigram_set == {"THE", "SYÄSTEM"}
    assert (model.alpha, model.beta, model.unk_score_offset, model.score_boundary) == (0.7, 2.0, -3.5, False)


def test_we_read_what_pyctcdecode_writes(tmp_path: Path, arpa: Path) -> None:
    theirs = pytest.importorskip("pyctcdecode")
    theirs.build_ctcdecoder(list(LABELS), str(arpa), ["THE", "FILE"], 0.1, 0.2, -1.0, False).save_to_dir(str(tmp_path))
    found = read_directory(str(tmp_path))
    assert found.alphabet == Alphabet.build(LABELS)
    assert found.unigrams == ("FILE", "THE")
    assert found.weights == LmWeights(0.1, 0.2, -1.0, False)
    assert found.model == f"{tmp_path}/language_model/two.arpa"


def test_without_a_language_model_there_is_an_alphabet(tmp_path: Path) -> None:
    write_directory(tmp_path, Alphabet.build(["▁A", "▁⁇▁"]), None, compat=False)
    found = read_directory(str(tmp_path))
    assert found.alphabet == Alphabet(("▁A", "▁⁇▁", ""), True) and found.model is None
    pytest.importorskip("pyctcdecode").BeamSearchDecoderCTC.load_from_dir(str(tmp_path))


def test_hidden_files_and_caches_are_no_part_of_it(written: Path) -> None:
    (written / ".gitattributes").write_text("")
    (written / "language_model" / ".DS_Store").write_text("")
    (written / "language_model" / "__pycache__").mkdir()
    assert read_directory(str(written)).model


def test_it_is_read_from_object_storage(written: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(written), "/bucket/decoder", recursive=True)
    try:
        found = read_directory("memory://bucket/decoder")
        assert found.model == "memory://bucket/decoder/language_model/two.arpa"
        assert found.unigrams == ("SYÄSTEM", "THE")
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_gzipped_model_is_written_as_a_binary_that_kenlm_reads(tmp_path: Path, arpa: Path) -> None:
    import gzip

    packed = tmp_path / "two.arpa.gz"
    packed.write_bytes(gzip.compress(arpa.read_bytes()))
    write_directory(
        tmp_path / "decoder", Alphabet.build(LABELS), WordModel(LanguageModel.open(str(packed))), compat=False
    )
    found = read_directory(str(tmp_path / "decoder"))
    assert str(found.model).endswith("/two.binary")
    kenlm = pytest.importorskip("kenlm")
    assert kenlm.Model(str(found.model)).score("THE FILE") == kenlm.Model(str(arpa)).score("THE FILE")


def test_the_machines_encoding_does_not_matter(written: Path, tmp_path: Path) -> None:
    """pyctcdecode writes in the locale's: a directory made on one machine could not be read on another."""
    code = "import sys; from pipeline.decode.directory import *; print(ascii(read_directory(sys.argv[1]).unigrams))"
    found = subprocess.run(
        [sys.executable, "-c", code, str(written)],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SY\\xc4STEM" in found.stdout


def test_unigrams_in_another_encoding_are_read_when_it_is_named(written: Path) -> None:
    path = written / "language_model" / "unigrams.txt"
    path.write_bytes("SYÄSTEM\nTHE\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"unigrams.txt: not utf-8 .*unigram_encoding"):
        read_directory(str(written))
    assert read_directory(str(written), "latin-1").unigrams == ("SYÄSTEM", "THE")
    with pytest.raises(UsageError, match="latin-99"):
        read_directory(str(written), "latin-99")


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        content = {**json.loads((directory / name).read_text()), **changes}
        (directory / name).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return edit


ATTRS = "language_model/attrs.json"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "alphabet.json").unlink(), "no alphabet.json; found language_model"),
        (lambda d: (d / "language_model").rename(d / "lm"), r"lm, but no language_model/"),
        (lambda d: (d / "alphabet.json").write_text("{"), "alphabet.json: not JSON"),
        (lambda d: (d / "alphabet.json").write_bytes(b"\xff"), "alphabet.json: not utf-8"),
        (lambda d: (d / "alphabet.json").write_text("[]"), "alphabet.json: not a JSON object"),
        (_edit("alphabet.json", more=1), "has is_bpe, labels, more"),
        (_edit("alphabet.json", labels=["a", 1, ""]), "labels should be a list of texts"),
        (_edit("alphabet.json", labels=["a"]), 'no label is "", the blank'),
        (_edit("alphabet.json", is_bpe="no"), "is_bpe should be true or false, not 'no'"),
        (lambda d: (d / ATTRS).unlink(), "should hold attrs.json, unigrams.txt and one language model"),
        (lambda d: (d / "language_model" / "README").write_text(""), "holds README, attrs.json, two.arpa"),
        (lambda d: (d / "language_model" / "two.arpa").rename(d / "language_model" / "two.lm"), r"ending in \.arpa"),
        (_edit(ATTRS, beta=None), "should have the keys alpha, beta"),
        (_edit(ATTRS, alpha="1"), "alpha should be a number, not '1'"),
        (_edit(ATTRS, score_boundary=1), "score_boundary should be true or false, not 1"),
    ],
)
def test_each_fault_is_named_with_its_file(written: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(written)
    with pytest.raises(UsageError, match=message) as raised:
        read_directory(str(written))
    assert str(written) in str(raised.value)


def test_an_empty_or_missing_directory_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=f"{path}: no alphabet.json; it is empty or not there"):
            read_directory(str(path))


def test_a_second_model_is_not_written_beside_the_first(written: Path, arpa: Path) -> None:
    with pytest.raises(UsageError, match="language_model is not empty"):
        write_directory(written, Alphabet.build(LABELS), WordModel(LanguageModel.open(str(arpa))), compat=False)
