"""Models that are wrong: unequal to the formulas, not adding up to one, changed by memory; texts that are not fit."""

import gzip
import io
import math
import random
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.lm.estimate import text as texts
from pipeline.lm.estimate.build import estimate
from pipeline.lm.estimate.discounts import estimate_discounts
from pipeline.lm.estimate.options import WHEN_DEGENERATE, EstimateOptions
from pipeline.lm.estimate.sorting import MAX_COUNT, Sorter
from pipeline.lm.estimate.text import BLOCK_BYTES, Block
from pipeline.lm.estimate.words import EOS, Words

BOS = "<s>"
Model = dict[tuple[str, ...], tuple[float, float]]  # log10 probability and backoff of every n-gram

sentences = st.lists(st.lists(st.sampled_from(["a", "b", "c", "dé", "日本"]), max_size=6), min_size=1, max_size=40)
prunings = st.lists(st.integers(0, 2), min_size=1, max_size=3).map(lambda counts: (0, *sorted(counts)))


def model_of(path: Path, **options) -> Model:
    with estimate([str(path)], EstimateOptions(**{"discount_fallback": True, **options})) as model:
        found: Model = {}
        for order in model.orders:
            num = 0
            for words, log10, backoff in order.pieces():
                assert words.dtype == np.uint32 and log10.dtype == backoff.dtype == np.float32
                for row, values in zip(words.tolist(), zip(log10.tolist(), backoff.tolist(), strict=True), strict=True):
                    found[tuple(model.words[word] for word in row)] = values
                num += len(words)
            assert num == order.num
        return found


def slowly(lines: list[list[str]], order: int, prune: tuple[int, ...], allowed: set[str] | None) -> Model:
    """Interpolated modified Kneser-Ney by its formulas, with dictionaries."""
    counts: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 2)]
    for line in lines:
        words = [BOS, *line, "</s>"]
        for length in range(1, order + 1):
            counts[length].update(tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    del counts[1][BOS,]
    thresholds = [*prune, *[prune[-1]] * order]
    lower: Model = {}
    result: Model = {}
    for length in range(1, order + 1):
        adjusted = Counter({ngram: count for ngram, count in counts[length].items() if ngram[0] == BOS})
        if length == order:
            adjusted = counts[length]
        adjusted.update(ngram[1:] for ngram in counts[length + 1])
        kept = {ngram for ngram, count in counts[length].items() if count > thresholds[length - 1]}
        kept = {ngram for ngram in kept if allowed is None or allowed.issuperset(set(ngram) - {BOS, "</s>"})}
        num_with = Counter(adjusted.values())
        discounts = estimate_discounts(length, [num_with[k] for k in range(5)], fallback=True).amounts()
        totals: dict[tuple[str, ...], float] = defaultdict(float)
        left: dict[tuple[str, ...], float] = defaultdict(float)
        for ngram, count in adjusted.items():
            totals[ngram[:-1]] += count
            left[ngram[:-1]] += discounts[min(count, 3)] if ngram in kept else count
        if length == 1:
            every = {("<unk>",), ("</s>",), *kept}
            found = {ngram: left[()] / totals[()] / len(every) for ngram in every}
            for ngram in kept:
                found[ngram] += (adjusted[ngram] - discounts[min(adjusted[ngram], 3)]) / totals[()]
            found[BOS,] = 1.0
        else:
            found = {}
            for ngram in kept:
                share = adjusted[ngram] - discounts[min(adjusted[ngram], 3)]
                found[ngram] = (share + left[ngram[:-1]] * lower[ngram[1:]][0]) / totals[ngram[:-1]]
        for context in lower:
            backoff = left[context] / totals[context] if context in totals else 1.0
            result[context] = (math.log10(lower[context][0]), math.log10(max(backoff, 1e-99)))
        lower = {ngram: (probability, 1.0) for ngram, probability in found.items()}
    return result | {ngram: (math.log10(probability), 0.0) for ngram, (probability, _) in lower.items()}


def write(path: Path, lines: list[list[str]]) -> Path:
    path.write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


@given(sentences, st.integers(2, 5), prunings, st.none() | st.sets(st.sampled_from("abcx")))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_formulas_and_the_streams_agree(tmp_path, lines, order, prune, allowed):
    lines = [*lines, ["a"]]
    prune = prune[:order]
    options = {"order": order, "prune": prune, "allowed_words": None if allowed is None else frozenset(allowed)}
    found = model_of(write(tmp_path / "text", lines), **options)
    expected = slowly(lines, order, prune, allowed)
    assert found.keys() == expected.keys()
    for ngram, values in expected.items():
        assert found[ngram] == pytest.approx(values, abs=2e-5), ngram


@given(sentences, st.integers(2, 4), prunings, st.none() | st.integers(1, 4))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_every_history_the_probabilities_of_all_words_add_up_to_one(tmp_path, lines, order, prune, limit):
    path = write(tmp_path / "text", [*lines, ["a"]])
    model = model_of(path, order=order, prune=prune[:order], limit_vocab=limit)
    words = [ngram[0] for ngram in model if len(ngram) == 1 and ngram != (BOS,)]

    def probability(history: tuple[str, ...], word: str) -> float:
        if (*history, word) in model:
            return 10 ** model[*history, word][0]
        return 10 ** (model[history][1] if history in model else 0.0) * probability(history[1:], word)

    for history in [(), *(ngram for ngram in model if len(ngram) < order and ngram[-1] not in ("</s>", "<unk>"))]:
        assert sum(probability(history, word) for word in words) == pytest.approx(1, abs=1e-5), history


def test_memory_decides_nothing_but_how_often_runs_are_written(tmp_path, monkeypatch):
    chance = random.Random(0)
    words = [f"w{number}" for number in range(300)]
    weights = [1 / (number + 1) for number in range(300)]
    path = write(tmp_path / "text", [chance.choices(words, weights, k=chance.randint(0, 20)) for _ in range(3000)])
    runs: list[int] = []
    blocks = Sorter.blocks

    def counted(sorter: Sorter, memory: int):
        yield from blocks(sorter, memory)
        runs.append(len(sorter._runs))

    monkeypatch.setattr(Sorter, "blocks", counted)
    plenty = model_of(path, order=4, prune=(0, 0, 1))
    assert set(runs) == {1}
    runs.clear()
    monkeypatch.setattr("pipeline.lm.estimate.options.LEAST_MEMORY", 0)
    scarce = model_of(path, order=4, prune=(0, 0, 1), memory=60_000)
    assert min(runs) > 2 and max(runs) > 20
    assert list(scarce.items()) == list(plenty.items())  # to the bit


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 2)] * 3)), st.integers(12, 400))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sorting_with_little_memory_is_sorting(tmp_path, rows, memory):
    with ThreadPoolExecutor(1) as pool:
        sorter = Sorter(tmp_path / "runs", [2, 0], 3, memory, pool)
        sorter.add(np.array(rows, np.uint32).reshape(-1, 3))
        found = [tuple(row) for block in sorter.blocks(memory) for row in block.tolist()]
    # Rows with one key may come in any order, as those of different runs do.
    assert sorted(found) == sorted(rows)
    assert [(row[2], row[0]) for row in found] == sorted((row[2], row[0]) for row in rows)
    assert not (tmp_path / "runs").exists()


def test_a_count_that_is_too_large_stops_the_work_instead_of_wrapping_around(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        sorter = Sorter(tmp_path / "runs", [0], 2, 1 << 20, pool, combine=True)
        sorter.add(np.array([[7, MAX_COUNT], [7, 1]], np.uint32))
        with pytest.raises(UsageError, match="more than 2,147,483,647 times"):
            sorter.finish()


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda word: " " not in word)
        )
    )
)
def test_words_are_told_apart_by_their_bytes_and_counted(lines):
    words = Words(skip_symbols=True)
    ids = [words.ids(Block((" \t".join(line) + "\r\n").encode(), "x", 1)).tolist() for line in lines]
    strings = words.strings()
    markers = strings[:3]
    assert len(set(strings)) == len(strings) == len(words)
    expected = [[word for word in line if word not in markers] for line in lines]
    assert [[strings[word] for word in line[:-1]] for line in ids] == expected
    assert all(line[-1] == EOS for line in ids)
    counts = Counter(word for line in expected for word in line)
    assert {word: count for word, count in zip(strings, words.frequencies().tolist(), strict=True) if count} == counts


def test_a_vocabulary_outgrows_its_table_within_one_block():
    names = [f"word{number}" for number in range(100_000)]
    words = Words()
    ids = words.ids(Block(" ".join([*names, *names, "\n"]).encode(), "x", 1))
    assert ids.tolist() == [*range(3, 100_003), *range(3, 100_003), EOS]
    assert words.strings()[3:] == names


@pytest.mark.parametrize(
    ("content", "same_as"),
    [
        (b"a b\r\nb a\r\n", b"a b\nb a\n"),
        (b"a b\nb a", b"a b\nb a\n"),
        (b"\xef\xbb\xbfa b\nb a\n", b"a b\nb a\n"),
        (b" a\tb \nb\x0c a\x0b\n", b"a b\nb a\n"),
        (gzip.compress(b"a b\n", mtime=0) + gzip.compress(b"b a\n", mtime=0), b"a b\nb a\n"),
    ],
    ids=["carriage returns", "no end of line", "byte order mark", "other white space", "gzip, in two members"],
)
def test_texts_that_differ_in_what_nobody_sees_give_one_model(content, same_as, tmp_path):
    for name, data in (("one", content), ("other", same_as)):
        (tmp_path / name).write_bytes(data)
    assert model_of(tmp_path / "one", order=2) == model_of(tmp_path / "other", order=2)


def test_white_space_of_other_scripts_is_part_of_a_word_as_it_is_in_kenlm(tmp_path):
    (tmp_path / "text").write_text("10\u00a0km north\n", encoding="utf-8")
    assert ("10\u00a0km", "north") in model_of(tmp_path / "text", order=2)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no words in it"),
        (b"\n \n\t\n", "no words in it"),
        (b"fine\nfine\nna\xefve\n", "text: line 3 is not UTF-8"),
        (b"fine\n\n\nh\0e\0l\0l\0o\0", "text: line 4 holds a NUL byte"),
        (b"fine\nwell <s> done\n", "text: line 2 holds <s>"),
        (b"a\nb </s>", "text: line 2 holds </s>"),
        (gzip.compress(b"a b c\n" * 1000, mtime=0)[:30], "text: a damaged gzip file"),
        (b"\x1f\x8bnot gzip at all", "text: a damaged gzip file"),
    ],
)
def test_a_text_that_is_not_fit_is_refused_with_its_name_and_line(content, told, tmp_path):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(UsageError, match=told):
        model_of(tmp_path / "text")


def test_lines_are_counted_over_blocks(tmp_path):
    """A fault is named with its line however far into the file it is, and whatever blocks cut through."""
    line = "word " * 300_000 + "\n"  # 1.5 MB: blocks end within lines
    assert 2 * len(line) < BLOCK_BYTES < 3 * len(line)
    (tmp_path / "text").write_bytes(line.encode() * 7 + b"b\xff\n")
    with pytest.raises(UsageError, match="line 8 is not UTF-8"):
        model_of(tmp_path / "text")


def test_a_line_of_megabytes_is_one_sentence(tmp_path):
    (tmp_path / "text").write_text("word " * 1_000_000 + "x" * 5_000_000)
    with estimate([str(tmp_path / "text")], EstimateOptions(order=3, discount_fallback=True)) as model:
        assert (model.num_words, model.num_sentences) == (1_000_001, 1)
        assert model.words[3:] == ["word", "x" * 5_000_000]


@pytest.mark.parametrize("content", ["once\n", "a a a a a a a a\n" * 100, "a\n" * 100])
def test_texts_with_next_to_nothing_in_them_give_a_model(content, tmp_path):
    (tmp_path / "text").write_text(content)
    assert all(math.isfinite(value) for values in model_of(tmp_path / "text", order=6).values() for value in values)
    with pytest.raises(UsageError, match="--discount-fallback"):
        model_of(tmp_path / "text", order=6, discount_fallback=False)


def test_markers_in_the_text_are_spaces_where_that_is_asked_for(tmp_path):
    (tmp_path / "marked").write_text("<s> a b </s>\nb<unk> <unk> a\n")
    (tmp_path / "plain").write_text("a b\nb<unk> a\n")
    assert model_of(tmp_path / "marked", order=2, skip_symbols=True) == model_of(tmp_path / "plain", order=2)


def test_a_limited_vocabulary_holds_the_most_frequent_words(tmp_path):
    write(tmp_path / "text", [["c", "b", "a"], ["a", "b"], ["a", "d", "</s>x"]])
    words = {ngram[0] for ngram in model_of(tmp_path / "text", order=2, limit_vocab=3) if len(ngram) == 1}
    assert words == {"<unk>", BOS, "</s>", "a", "b", "c"}  # c came before d


def test_files_are_found_by_glob_in_the_order_of_their_names_and_by_url(tmp_path):
    for name in ("2.txt", "1.txt", "10.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "3.txt").mkdir()
    found = [str(tmp_path / name) for name in ("1.txt", "10.txt", "2.txt")]
    assert texts.expand([f"{tmp_path}/*.txt"]) == found
    assert texts.expand([f"file://{tmp_path}/1.txt"]) == [f"file://{tmp_path}/1.txt"]
    import fsspec

    fsspec.filesystem("memory").pipe("/corpus/a.txt", b"one two\n")
    assert [block.data for block in texts.blocks(texts.expand(["memory://corpus/*.txt"]))] == [b"one two\n"]
    for missing in ("nothing.txt", "*.nothing"):
        with pytest.raises(UsageError, match="no such text file"):
            texts.expand([str(tmp_path / missing)])
    with pytest.raises(UsageError, match="a folder"):
        texts.expand([str(tmp_path)])


def test_standard_input_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one two")))
    assert [block.data for block in texts.blocks(texts.expand(["-"]))] == [b"one ", b"two\n"]


@pytest.mark.parametrize("num_with", [[0, 0, 3, 2, 1], [0, 9, 0, 2, 1], [0, 9, 3, 0, 1], [0, 1, 1, 9, 1]])
def test_discounts_that_make_no_sense_are_refused_or_replaced(num_with):
    with pytest.raises(UsageError, match="3-gram"):
        estimate_discounts(3, num_with, fallback=False)
    discounts = estimate_discounts(3, num_with, fallback=True)
    assert discounts.fallback and discounts.amounts() == (0.0, *WHEN_DEGENERATE)


@pytest.mark.parametrize(
    "options",
    [
        {"order": 1},
        {"order": 7},
        {"prune": ()},
        {"prune": (0, 2, 1)},
        {"prune": (-1,)},
        {"prune": (0,) * 5},
        {"limit_vocab": 0},
        {"memory": 1000},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(options):
    with pytest.raises(UsageError, match="--" + next(iter(options)).replace("_", "-")):
        EstimateOptions(**options)
