"""ARPA files whose numbers are not the model's, that other programs cannot read, or that differ from run to run."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lm.arpa import read_arpa
from pipeline.lm.arpa_writer import write_arpa
from pipeline.lm.ngrams import Order, Piece

WORDS = ["<unk>", "<s>", "</s>", "a", "dé", "10\u00a0km", "日本"]

numbers = st.floats(min_value=-99, max_value=0, width=32) | st.sampled_from([-0.1, -1.0, -10.0, -0.5, -99.0, -2e-8])


def order(length: int, rows: list[list[int]], log10: list[float], backoff: list[float], size: int = 2) -> Order:
    arrays = np.array(rows, np.uint32).reshape(-1, length), np.array(log10, np.float32), np.array(backoff, np.float32)
    pieces = [Piece(*(array[start : start + size] for array in arrays)) for start in range(0, len(rows), size)]
    return Order(length, len(rows), lambda: iter(pieces))


def small_model() -> list[Order]:
    unigrams = order(1, [[word] for word in range(7)], [-1.5, 0, -0.25, -1, -1, -1, -2], [0, -0.5, 0, 0, 0.125, 0, -9])
    return [unigrams, order(2, [[1, 3], [3, 4], [5, 6], [4, 2]], [-0.1, -0.2, -0.3, -1e-7], [0.0] * 4)]


@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_number_reads_back_as_itself_in_few_digits(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("arpa") / "numbers.arpa"
    rows = [[word] for word in range(len(values))]
    write_arpa(path, [f"w{number}" for number in range(len(values))], [order(1, rows, values, values)])
    lines = [line for line in path.read_text().splitlines() if "\tw" in line]
    written = [line.split("\t")[0] for line in lines]
    expected = np.array(values, np.float32)
    assert np.array_equal(np.array([float(text) for text in written], np.float32), expected)
    assert all(len(text.lstrip("-0.").replace(".", "")) <= 9 for text in written)
    assert "-0" not in written


def test_every_size_of_number_reads_back(tmp_path):
    """Half a million bit patterns from 1e-30 to 1e6, where hypothesis tries some hundreds."""
    values = -np.exp(np.random.default_rng(0).uniform(math.log(1e-30), math.log(1e6), 500_000)).astype(np.float32)
    rows = np.zeros((len(values), 1), np.uint32)
    write_arpa(tmp_path / "a.arpa", ["w"], [Order(1, len(rows), lambda: iter([Piece(rows, values, values)]))])
    lines = (tmp_path / "a.arpa").read_text().splitlines()[4:-2]
    found = np.array([line.split("\t")[0] for line in lines], np.float64)
    assert np.array_equal(found.astype(np.float32), values)


def test_the_file_is_what_the_format_says(tmp_path):
    write_arpa(tmp_path / "small.arpa", WORDS, small_model())
    assert (tmp_path / "small.arpa").read_text(encoding="utf-8").split("\n") == [
        "\\data\\",
        "ngram 1=7",
        "ngram 2=4",
        "",
        "\\1-grams:",
        "-1.5\t<unk>\t0",
        "0\t<s>\t-0.5",
        "-0.25\t</s>\t0",
        "-1\ta\t0",
        "-1\tdé\t0.125",
        "-1\t10\u00a0km\t0",
        "-2\t日本\t-9",
        "",
        "\\2-grams:",
        "-0.1\t<s> a",
        "-0.2\ta dé",
        "-0.3\t10\u00a0km 日本",
        "-0.0000001\tdé </s>",
        "",
        "\\end\\",
        "",
    ]


@pytest.mark.parametrize("name", ["small.arpa", "small.arpa.gz"])
def test_our_reader_reads_it(name, tmp_path):
    write_arpa(tmp_path / name, WORDS, small_model())
    words, orders = read_arpa(tmp_path / name)
    assert words == WORDS
    for found, expected in zip(orders, small_model(), strict=True):
        for column, expected_column in zip(_whole(found), _whole(expected), strict=True):
            assert np.array_equal(column, expected_column)


def _whole(given: Order) -> list[np.ndarray]:
    return [np.concatenate(columns) for columns in zip(*given.pieces(), strict=True)]


def test_kenlm_reads_it(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    write_arpa(tmp_path / "small.arpa", WORDS, small_model())
    model = kenlm.Model(str(tmp_path / "small.arpa"))
    assert [score[0] for score in model.full_scores("a dé")] == pytest.approx([-0.1, -0.2, -1e-7])
    assert "10\u00a0km" in model


def test_one_model_is_one_gzip_file_whenever_and_wherever_it_is_written(tmp_path, monkeypatch):
    write_arpa(tmp_path / "one.arpa.gz", WORDS, small_model())
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_arpa(tmp_path / "other.arpa.gz", WORDS, small_model())
    assert Path(tmp_path / "one.arpa.gz").read_bytes() == Path(tmp_path / "other.arpa.gz").read_bytes()
    write_arpa(tmp_path / "plain.arpa", WORDS, small_model())
    assert gzip.decompress((tmp_path / "one.arpa.gz").read_bytes()) == (tmp_path / "plain.arpa").read_bytes()
