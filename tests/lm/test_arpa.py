"""Reading ARPA: numbers and words as Python reads them, and every malformed line named by its number."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.lm import arpa as arpa_module
from pipeline.lm import arpa_lines
from pipeline.lm.arpa import read_arpa
from pipeline.lm.ngrams import Order
from tests.lm.arpas import random_arpa

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = """\\data\\
ngram 1=4
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>
0\t<s>\t-0.25
-0.5\t</s>
-0.75\twort\t-0.125

\\2-grams:
-0.5\t<s> wort\t-1e-1
-0.25\twort wort
-0.125\twort </s>\t0

\\3-grams:
-.5\t<s> wort </s>

\\end\\
"""


def ngrams(words: list[str], orders: list[Order]) -> dict[tuple[str, ...], tuple[float, float]]:
    return {
        tuple(words[word] for word in row): (float(log10), float(backoff))
        for order in orders
        for piece in order.pieces()
        for row, log10, backoff in zip(*piece, strict=True)
    }


def expected(text: str) -> dict[tuple[str, ...], tuple[float, float]]:
    lines = [line.split("\t") for line in text.replace("\r", "").split("\n") if "\t" in line]
    single = np.float32
    return {tuple(line[1].split(" ")): (single(line[0]), single(line[2] if line[2:] else 0)) for line in lines}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.arpa"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        SMALL.replace("\n", "\r\n"),
        "# made by hand\n\n" + SMALL,
        SMALL.rstrip("\n"),
        SMALL.replace("\n\n\\2", "\n\\2").replace("wort", "w\u00a0\x0b日本"),
        random_arpa(5, 80, seed=1),
        (FIXTURES / "order6.arpa").read_text(),
    ],
)
@pytest.mark.parametrize(("block", "rows"), [(1 << 24, 1 << 18), (200, 3)])
def test_every_ngram_comes_out(
    text: str, block: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arpa_module, "BLOCK", block)
    monkeypatch.setattr(arpa_module, "ROWS", rows)
    words, orders = read_arpa(written(tmp_path, text))
    assert ngrams(words, orders) == expected(text)
    assert words[0] == "<unk>" and [order.order for order in orders] == list(range(1, len(orders) + 1))
    for order in reversed(orders):  # in any order, any number of times
        assert sum(len(piece.words) for piece in order.pieces()) == order.num


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "model.arpa"
    path.write_bytes(gzip.compress(SMALL.encode()))
    assert ngrams(*read_arpa(path)) == expected(SMALL)


def test_a_missing_unknown_word_gets_the_probability_that_kenlm_gives_it(tmp_path: Path) -> None:
    words, orders = read_arpa(written(tmp_path, SMALL.replace("-1.5\t<unk>\n", "").replace("1=4", "1=3")))
    assert ngrams(words, orders)[("<unk>",)] == (-100.0, 0.0)
    assert words == ["<unk>", "<s>", "</s>", "wort"]


def test_a_shouted_unknown_word_is_the_unknown_word(tmp_path: Path) -> None:
    text = SMALL.replace("<unk>", "<UNK>").replace("-0.25\twort wort", "-0.25\twort <UNK>")
    read = ngrams(*read_arpa(written(tmp_path, text)))
    assert read[("<unk>",)] == (-1.5, 0.0) and read[("wort", "<unk>")] == (-0.25, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "hello", r"line 1: \\data\\ should stand here, not 'hello'"),
        ("ngram 2=3", "ngram 3=3", r"line 3: 'ngram 2=NUMBER' should stand here, not 'ngram 3=3'"),
        ("ngram 2=3", "ngram 2=many", "line 3: 'ngram 2=NUMBER'"),
        ("ngram 3=1\n", "ngram 3=1\nngram 4=0\nngram 5=0\nngram 6=0\nngram 7=0\n", "order 7; orders up to 6"),
        ("ngram 3=1\n\n", "ngram 3=1\n", "line 5: an empty line should stand here"),
        ("\\1-grams:", "\\2-grams:", r"line 6: \\1-grams: should stand here, not '\\\\2-grams:'"),
        ("0\t<s>", "x\t<s>", "line 8: 'x' is not a log probability"),
        ("0\t<s>", "nan\t<s>", "line 8: 'nan' is not a log probability"),
        ("0\t<s>", "0.5\t<s>", "line 8: the log probability '0.5' is above zero"),
        ("-0.5\t</s>", "-0.5", "line 9: a probability, one word and perhaps a backoff should stand here, not '-0.5'"),
        ("-0.5\t</s>", "-0.5\ta b c", "line 9: a probability, one word"),
        ("wort\t-0.125", "wort\tinf", "line 10: 'inf' is not a backoff"),
        ("wort\t-0.125", "<s>\t-0.125", "line 10: '<s>' is listed a second time"),
        ("-1.5\t<unk>\n", "-1.5\t<unk>\n-1.5\t<UNK>\n", "line 8: '<UNK>' is listed a second time"),
        ("ngram 1=4", "ngram 1=5", "line 12: 4 1-grams where the header announces 5"),
        ("ngram 1=4", "ngram 1=3", "line 10: one 1-gram more than the 3 that the header announces"),
        ("-0.5\t</s>", "-0.5\tend", "no </s> among the 1-grams"),
        ("-0.25\twort wort", "-0,25\twort wort", "line 14: '-0,25' is not a log probability"),
        ("-0.25\twort wort", "+0.25\twort wort", r"line 14: the log probability '\+0.25' is above zero"),
        ("-0.25\twort wort", "-0.25\twort", "line 14: a probability, 2 words and perhaps a backoff .* '-0.25.twort'"),
        ("-0.25\twort wort", "-0.25\twort wort wort", "line 14: 'wort' is not a backoff"),
        ("-0.25\twort wort", "-0.25\twort wort 0 0", "line 14: a probability, 2 words"),
        ("-0.25\twort wort", "-0.25\twort Wort", "line 14: 'Wort' is not among the 1-grams"),
        ("-0.25\twort wort", "-0.25\twort wort\tnan", "line 14: 'nan' is not a backoff"),
        ("-0.25\twort wort\n", "", "line 16: 2 2-grams where the header announces 3"),
        ("-0.25\twort wort\n", "-0.25\twort wort\n" * 2, "line 16: one 2-gram more than the 3 that"),
        ("<s> wort </s>", "<s> wort </s>\t-0.5", "line 18: the backoff '-0.5' in the highest order"),
        ("\\3-grams:", "\\4-grams:", r"line 17: \\3-grams: should stand here"),
        ("\\end\\", "", "before its .*end.*; it was cut short, copy it again"),
        ("\\end\\", "\\4-grams:", r"line 20: \\end\\ should stand here"),
        ("\n\\end\\\n", "", "before its .*end"),
        ("\n\\3-grams:\n-.5\t<s> wort </s>\n\n\\end\\\n", "", "before its .*end"),
        ("\t<s>\t-0.25\n-0.5\t</s>" + SMALL.partition("</s>")[2], "", "line 8: a probability, one word"),
    ],
)
def test_malformed_lines_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert SMALL.count(old) == 1
    path = written(tmp_path, SMALL.replace(old, new))
    with pytest.raises(UsageError, match=message) as raised:
        ngrams(*read_arpa(path))
    assert str(path) in str(raised.value)


def test_cut_anywhere_it_is_refused(tmp_path: Path) -> None:
    content = (FIXTURES / "order3.arpa").read_bytes()
    for whole, step in [(content, 331), (gzip.compress(content), 97)]:
        for length in range(1, len(whole) - 7, step):
            (tmp_path / "cut").write_bytes(whole[:length])
            with pytest.raises(UsageError, match="cut"):
                ngrams(*read_arpa(tmp_path / "cut"))


def test_a_file_without_lines_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arpa_module, "BLOCK", 1000)
    (tmp_path / "model").write_bytes(b"\\data\\" * 1000)
    with pytest.raises(UsageError, match="a line of more than 1,000 bytes"):
        read_arpa(tmp_path / "model")


def bits(number: float) -> bytes:
    return struct.pack("<f", np.float32(number))


@given(st.floats(-1e4, 0), st.sampled_from(["{:.9g}", "{:.6f}", "{:.3e}", "{:+.1f}", "{:.17g}", "{:.25f}", "{:.0f}."]))
def test_numbers_are_read_as_python_reads_them(number: float, form: str) -> None:
    text = form.format(number).encode()
    assert bits(arpa_lines.number(np.frombuffer(text, np.uint8), 0, len(text))) == bits(float(text))


@pytest.mark.parametrize(
    "text", ["", "-", ".", "-.", "e5", "1e", "1e+", "1.2.3", "0x1", "1_0", "--1", "one", "1 ", "na"]
)
def test_what_is_no_number_is_none(text: str) -> None:
    assert np.isnan(arpa_lines.number(np.frombuffer(text.encode(), np.uint8), 0, len(text)))
