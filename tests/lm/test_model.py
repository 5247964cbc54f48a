"""The language model reader against KenLM's own module, on files that KenLM's tools wrote: every format, to the bit."""

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.lm.model import LanguageModel, lm_hash
from tests.lm.walks import UNSEEN, ngrams_of, walk

FIXTURES = Path(__file__).parent / "fixtures"
FORMATS = ("probing", "trie", "quantised", "array", "quantised-array")
ORDERS = {"order2": 2, "order3": 3, "order6": 6, "pruned": 4}
FILES = [f"{model}.{kind}" for model in ORDERS for kind in FORMATS]
SENTENCES = ["the night train", "", "straße größer été", f"the {UNSEEN.split()[0]} lamp", "a\u00a0b the\tship  \n"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))


def kenlm_of(path: Path) -> Any:
    return pytest.importorskip("kenlm").Model(str(path))


@pytest.mark.parametrize("name", FILES)
def test_every_state_scores_as_in_kenlm(name: str) -> None:
    model, theirs = LanguageModel.open(str(FIXTURES / name)), kenlm_of(FIXTURES / name)
    ngrams = ngrams_of((FIXTURES / name).with_suffix(".arpa").read_text())
    walked = walk(model, theirs, ngrams, steps=2000, seed=1)
    assert np.array_equal(walked.ours, walked.theirs)
    assert set(walked.matched) == set(range(1, model.order + 1))  # or the walk never went where it matters


@pytest.mark.parametrize("name", FILES)
def test_sentences_score_as_in_kenlm(name: str) -> None:
    model, theirs = LanguageModel.open(str(FIXTURES / name)), kenlm_of(FIXTURES / name)
    for sentence in SENTENCES:
        for bos in (True, False):
            for eos in (True, False):
                assert model.score(sentence, bos, eos) == theirs.score(sentence, bos, eos)


@pytest.mark.parametrize("name", FILES)
def test_words_and_ids_are_those_of_the_arpa(name: str) -> None:
    model = LanguageModel.open(str(FIXTURES / name))
    words = model.words()
    assert model.order == ORDERS[name.split(".")[0]]
    listed = ngrams_of((FIXTURES / name).with_suffix(".arpa").read_text())
    assert sorted(words) == sorted(ngram[0] for ngram in listed if len(ngram) == 1)
    assert list(model.ids([*words, UNSEEN, "", "the "])) == [*range(len(words)), 0, 0, 0]
    assert words[0] == "<unk>" and words[7] in model and UNSEEN not in model and "<unk>" not in model


def test_a_decoder_is_compiled_once_for_all_formats() -> None:
    types = {numba.typeof(LanguageModel.open(str(FIXTURES / name)).tables) for name in FILES}
    assert len(types) == 1


def test_the_file_is_mapped_not_read() -> None:
    """A copy per process would fill a node's memory with one model."""
    model = LanguageModel.open(str(FIXTURES / "order3.trie"))
    assert str(model.path) in Path("/proc/self/maps").read_text()


def test_a_model_travels_as_its_location() -> None:
    model = LanguageModel.open(str(FIXTURES / "order3.trie"))
    travelled = pickle.dumps(model)
    assert len(travelled) < 300
    assert pickle.loads(travelled).score("the lamp") == model.score("the lamp")


def test_the_code_without_the_compiler_gives_the_same() -> None:
    """The compiled code's slow twin is itself, interpreted; addresses and 64-bit products are where they could part."""
    program = (
        "from pipeline.lm.model import LanguageModel\n"
        f"print([LanguageModel.open('{FIXTURES}/' + name).score('the lamp größer zzz') for name in {FILES}])"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONWARNINGS": "ignore"}
    slow = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert slow.stdout.strip() == str(
        [LanguageModel.open(str(FIXTURES / f)).score("the lamp größer zzz") for f in FILES]
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_arpa_scores_as_in_kenlm_whatever_its_name(zipped: bool, tmp_path: Path) -> None:
    content = (FIXTURES / "order3.arpa").read_bytes()
    path = tmp_path / "model.bin"
    path.write_bytes(gzip.compress(content) if zipped else content)
    model, theirs = LanguageModel.open(str(path)), kenlm_of(FIXTURES / "order3.arpa")
    walked = walk(model, theirs, ngrams_of(content.decode()), steps=2000, seed=2)
    assert np.array_equal(walked.ours, walked.theirs)
    assert model.path.parent == tmp_path / "cache" / "lm"
    assert LanguageModel.open(str(path)).path == model.path


def test_a_changed_arpa_is_converted_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_bytes((FIXTURES / "order2.arpa").read_bytes())
    first = LanguageModel.open(str(path))
    path.write_bytes((FIXTURES / "order3.arpa").read_bytes())
    assert (first.order, LanguageModel.open(str(path)).order) == (2, 3)


def test_models_built_without_words_score_but_cannot_name_them() -> None:
    wordless, whole = (LanguageModel.open(str(FIXTURES / f"order2.{kind}")) for kind in ("wordless", "probing"))
    assert wordless.score("the night train") == whole.score("the night train")
    with pytest.raises(UsageError, match=r"order2\.wordless was built without its words: run build_binary again"):
        wordless.words()


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.write_bytes((FIXTURES / "order3.trie").read_bytes())
    assert lm_hash(str(copy)) == lm_hash(str(FIXTURES / "order3.trie"))
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert lm_hash(str(copy)) != lm_hash(str(FIXTURES / "order3.trie"))
