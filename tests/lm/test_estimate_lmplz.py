"""Models that are not those of lmplz, the tool that everybody's n-gram models come from: its files are the oracle.

`estimated/text.txt` is ours, the ARPA files beside it are what lmplz of KenLM 0.3.0 made of it. Where the tool itself
is at hand (on the path, or named by NIGHTSHIFT_LMPLZ), random texts are compared, too.

lmplz enters the n-gram that sorts last into its counts of counts with its occurrences, where it enters all others with
their adjusted counts. So the texts here end with a word that occurs once: then both are one.
"""

import gzip
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.lm.arpa_writer import write_arpa
from pipeline.lm.estimate.build import estimate
from pipeline.lm.estimate.options import EstimateOptions

HERE = Path(__file__).parent / "estimated"
LMPLZ = os.environ.get("NIGHTSHIFT_LMPLZ") or shutil.which("lmplz")

Ngrams = dict[str, tuple[float, float]]


def read(arpa: str) -> tuple[list[int], Ngrams]:
    """The counts of the header, and probability and backoff of every n-gram."""
    lines = arpa.splitlines()
    counts = [int(line.partition("=")[2]) for line in lines if line.startswith("ngram ")]
    fields = [line.split("\t") for line in lines[lines.index("\\1-grams:") :] if "\t" in line]
    return counts, {field[1]: (float(field[0]), float(field[2]) if len(field) > 2 else 0.0) for field in fields}


def estimated(text: Path, folder: Path, **options) -> str:
    with estimate([str(text)], EstimateOptions(**options)) as model:
        write_arpa(folder / "model.arpa", model.words, model.orders)
    return (folder / "model.arpa").read_text()


def assert_equal(ours: str, theirs: str) -> None:
    (our_counts, our_ngrams), (their_counts, their_ngrams) = read(ours), read(theirs)
    assert our_counts == their_counts
    assert list(our_ngrams) == list(their_ngrams)  # in the same order, too
    for ngram, expected in their_ngrams.items():
        assert our_ngrams[ngram] == pytest.approx(expected, abs=2e-6), ngram


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("order2.arpa", {"order": 2}),
        ("order4.arpa.gz", {"order": 4}),
        ("order3-pruned.arpa", {"order": 3, "prune": (0, 0, 1)}),
        (
            "order5-limited.arpa",
            {
                "order": 5,
                "prune": (0, 1, 2),
                "allowed_words": frozenset((HERE / "vocabulary.txt").read_text().split()),
            },
        ),
    ],
)
def test_the_model_is_that_of_lmplz(name, options, tmp_path):
    expected = (HERE / name).read_bytes()
    expected = gzip.decompress(expected) if name.endswith(".gz") else expected
    assert_equal(estimated(HERE / "text.txt", tmp_path, **options), expected.decode())


def test_discounts_that_a_small_text_cannot_give_are_those_of_lmplz(tmp_path):
    text = tmp_path / "text"
    text.write_text("".join([*(HERE / "text.txt").read_text().splitlines(keepends=True)[:7], "one train\n"]))
    ours = estimated(text, tmp_path, order=3, discount_fallback=True)
    assert_equal(ours, (HERE / "fallback.arpa").read_text())


@pytest.mark.skipif(LMPLZ is None, reason="lmplz is not at hand; name it in NIGHTSHIFT_LMPLZ")
@pytest.mark.parametrize("seed", range(20))
def test_random_models_are_those_of_lmplz(seed, tmp_path):
    assert LMPLZ is not None
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(chance.choice([3, 10, 60, 400]))]
    weights = [1 / (number + 1) for number in range(len(words))]
    num_lines = chance.choice([5, 50, 400, 2000])
    lines = [" ".join(chance.choices(words, weights, k=chance.choice([0, 1, 2, 5, 12]))) for _ in range(num_lines)]
    text = tmp_path / "text"
    text.write_text("\n".join([*lines, "a last word\n"]))
    order = chance.randint(2, 6)
    arguments = [LMPLZ, "-o", str(order), "-S", "200M", "-T", str(tmp_path), "--discount_fallback"]
    options: dict[str, object] = {
        "order": order,
        "discount_fallback": True,
        "memory": chance.choice([1 << 20, 1 << 28]),
    }
    if chance.random() < 0.6:
        options["prune"] = tuple(sorted(chance.choices([0, 0, 1, 2, 3, 9], k=chance.randint(1, order))))
        arguments += ["--prune", *map(str, options["prune"])]
    if chance.random() < 0.4:
        allowed = [*chance.sample(words, chance.randint(1, len(words))), "unheard"]
        (tmp_path / "vocabulary").write_text(" ".join(allowed))
        options["allowed_words"] = frozenset(allowed)
        arguments += ["--limit_vocab_file", str(tmp_path / "vocabulary")]
    theirs = subprocess.run(arguments, input=text.read_bytes(), capture_output=True, check=True).stdout.decode()
    assert_equal(estimated(text, tmp_path, **options), theirs.replace("-inf", "-99"))
