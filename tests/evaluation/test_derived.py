"""What recordings are sliced by: each recording in the slice that its value says, and no slice by what is an id."""

import re
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.derived import DERIVED, FEW, NUM_RANGES, Labels, labels, names, warnings
from tests.evaluation.counted import counted

NUMBER = r"(-?[\d,.]+(?:e[+-]\d+)?)"


def of(values, asked=False) -> Labels | None:
    """A column of the input."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    scores = counted([1] * len(column), [0] * len(column), {"x": column})
    found = labels(scores, ["x"] if asked else None)
    assert len(found) <= 1
    return found[0] if found else None


def told(one: Labels) -> list[str | None]:
    """The value that each recording is said to have."""
    return [None if code < 0 else one.values[code] for code in one.codes]


def is_in(value: float, name: str, whole: bool) -> bool:
    """Read as a person would."""

    def number(text: str) -> float:
        return float(text.replace(",", ""))

    if under := re.fullmatch(f"under {NUMBER}.*", name):
        return value < number(under[1])
    if more := re.fullmatch(f"{NUMBER}.* and more", name):
        return value >= number(more[1])
    if between := re.fullmatch(f"{NUMBER} to {NUMBER}.*", name):
        low, high = number(between[1]), number(between[2])
        return low <= value <= high if whole else low <= value < high
    return value == number(name)


@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: float(f"{value:.6g}")), min_size=6, max_size=80)
    | st.lists(st.integers(-1000, 1000), min_size=6, max_size=80)
)
def test_every_number_is_in_the_range_that_its_slice_is_called(values):
    found = of(values)
    if len(set(values)) == 1:
        assert found is None
        return
    assert 2 <= len(found.values) <= max(NUM_RANGES, len(values) // 5)
    whole = all(value == round(value) for value in values)
    assert all(is_in(value, name, whole) for value, name in zip(values, told(found), strict=True))
    assert all(
        values[at] <= values[to]
        for at in range(len(values))
        for to in range(len(values))
        if found.codes[at] < found.codes[to]
    )


@pytest.mark.parametrize("kind", ["normal", "lognormal", "whole", "text"])
def test_ranges_hold_about_as_many_each_and_have_edges_that_people_read(kind):
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.normal(20, 7, 5_000),
        "lognormal": rng.lognormal(0, 3, 5_000),
        "whole": rng.integers(0, 10_000, 5_000),
        "text": pa.array(np.round(rng.normal(20, 7, 5_000), 3)).cast(pa.string()),
    }[kind]
    found = of(values)
    shares = np.bincount(found.codes) / len(values)
    assert len(shares) == NUM_RANGES and shares.min() > 0.12 and shares.max() < 0.28
    edges = [re.search(NUMBER, name)[1] for name in found.values[1:]]
    assert all(len(re.sub(r"[^\d]|^0\.0*", "", edge).rstrip("0")) <= 2 for edge in edges), edges


def test_where_most_have_one_value_the_others_still_get_ranges():
    found = of(np.append(np.zeros(900), np.linspace(1, 100, 100)))
    assert len(found.values) >= 3
    assert is_in(0, found.values[0], whole=False) and np.bincount(found.codes)[0] >= 900
    assert len(of([0.0] * 45 + [1.2, 1.9, 2.0, 2.2, 2.4]).values) <= 4  # six values in 50 recordings, but five in five
    assert of([""] * 45 + ["too loud", "a dog", "two voices"]) is None


def test_few_values_are_slices_as_they_are_in_the_order_that_they_go():
    assert of(["b", "a", None, "", "b", "a", "b", "a"]).values == ("(empty)", "a", "b", "(none)")
    assert told(of(["b", "a", None, "", "b", "a", "b", "a"])) == ["b", "a", "(none)", "(empty)", "b", "a", "b", "a"]
    assert of([16000, 8000, None] * 10).values == ("8000", "16000", "(none)")
    assert of(["16000", "8000"] * 10).values == ("8000", "16000")  # as numbers, not as texts
    assert of([8000, 16000] * 2).values == ("8000", "16000")
    assert of([0.5, 10.25, -1.0] * 10).values == ("-1", "0.5", "10.25")
    assert of([True, False, None, True, False, True]).values == ("false", "true", "(none)")
    assert of([date(2026, 1, 2), date(2026, 1, 1)] * 3).values == ("2026-01-01", "2026-01-02")
    assert of(pa.chunked_array([["a", "b"], ["a", "b"]]).dictionary_encode()).values == ("a", "b")


def test_numbers_that_are_unknown_are_a_slice_of_their_own():
    values = [*np.linspace(0, 1, 30), None, float("nan")]
    texts = [f"{value:.4f}" for value in values[:30]] + ["", None]  # a table of texts has empty cells
    for column in (values, texts, [None if one is None else Decimal(f"{one:.4f}") for one in values[:-1]] + [None]):
        found = of(column)
        assert found.values[-1] == "(none)" and told(found)[-2:] == ["(none)", "(none)"]
        assert "(none)" not in told(found)[:-2]


def test_no_number_is_unknown_and_zero_has_no_sign():
    """Where numbers are few, and no ranges."""
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        found = of(pa.array(np.array([0.0, -0.0, np.nan, 0.1, np.inf] * 9, kind.to_pandas_dtype()), kind))
        assert found.values[0] == "0" and found.values[2:] == ("inf", "(none)") and len(found.values) == 4
    assert of(pa.array([0.1, 7] * 9, pa.float32())).values == ("0.1", "7")  # and not 0.10000000149


KINDS = {
    "list_view": pa.array([[1], [2], None] * 9, pa.list_view(pa.int8())),
    "map": pa.array([[("a", 1)], None, []] * 9, pa.map_(pa.string(), pa.int8())),
    "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, b"b" * 16, None] * 9, pa.binary(16))),
    "interval": pa.array([(1, 2, 3), None, (1, 2, 4)] * 9, pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1] * 9, pa.int8()), [pa.array(range(18)), pa.array(["a"] * 18)]),
    "zone": pa.array([1, 2, None] * 9, pa.timestamp("us", "Mars/Phobos")),
    "small decimal": pa.array([Decimal("1.5"), None, Decimal("2")] * 9, pa.decimal32(5, 2)),
    "view": pa.array(["a", "b", None] * 9, pa.string_view()),
    "large": pa.array(["a", "b", None] * 9, pa.large_string()),
    "odd dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2] * 9), pa.array(["a", None, "a"])),
    "duration": pa.array([1, 2, None] * 9, pa.duration("s")),
    "large numbers": pa.array([2**64 - 1, 2**63, 1] * 9, pa.uint64()),
}


@pytest.mark.parametrize("name", KINDS)
def test_columns_of_any_type_have_slices_or_tell_why_not(name):
    """One column of a million recordings must not be the end of an evaluation that did not ask for it."""
    of(KINDS[name])
    found = of(KINDS[name], asked=True)
    assert bool(found.values) != ("has no slices" in found.told)
    assert bool(found.values) == (
        name in ("small decimal", "view", "large", "odd dictionary", "duration", "large numbers")
    )


@pytest.mark.parametrize(
    "values",
    [
        [f"/data/{number}.wav" for number in range(200)],
        [f"{number:05d}" for number in range(200)],  # with zeros before it a number is a name
        [f"id{number}" for number in range(12)],  # few, but of one recording each
        ["the same"] * 10,
        [None] * 10,
        pa.array([[1], [2]] * 10),
        pa.array([{"a": 1}] * 10),
        pa.array([b"a", b"b"] * 10),
    ],
    ids=["paths", "zeros", "ids", "one value", "nulls", "lists", "structs", "bytes"],
)
def test_what_says_nothing_is_no_slice_unless_it_is_asked_for(values):
    assert of(values) is None


def test_numbers_that_are_names_have_no_ranges():
    numbers = list(range(200))
    for name, is_sliced in (("speaker", False), ("chapter_id", False), ("Speaker_ID", False), ("speakers", True)):
        found = labels(counted([1] * 200, [0] * 200, {name: numbers}))
        assert bool(found) == is_sliced


def test_of_many_texts_that_are_asked_for_the_largest_are_slices_and_the_rest_is_one():
    values = [f"s{number:03d}" for number in range(120) for _ in range(1 + number)] + [None]
    found = of(values, asked=True)
    assert found.values == (*(f"s{number:03d}" for number in range(70, 120)), "70 others", "(none)")
    assert told(found)[-2:] == ["s119", "(none)"] and told(found)[0] == "70 others"
    assert np.bincount(found.codes)[FEW] == sum(1 + number for number in range(70))
    assert "120 values" in found.told and str(FEW) in found.told


def test_what_is_asked_for_and_cannot_be_sliced_is_told():
    columns = {"list": [[1], [2]], "bytes": [b"a", b"b"], "fine": ["a", "b"]}
    scores = counted([1, 1], [0, 0], columns)
    first, second, third = warnings(scores, ["list", "bytes", "fine", "confidence"])
    assert "list has no slices" in first and "bytes has no slices" in second and "confidence has no slices" in third
    assert warnings(scores, None) == ()
    with pytest.raises(UsageError, match=r"cannot slice by spaeker: there is no such column, only duration_s, .*fine"):
        labels(scores, ["spaeker"])
    assert names(scores) == (*DERIVED, "list", "bytes", "fine")


def test_derived_columns_are_of_what_is_known_alone():
    scores = counted(
        [10, 10, 3, 8, 1],
        [0] * 5,
        duration_s=[5.0, 4.999, np.nan, 0.0, 400.0],
        snr_estimate_db=[-3, 10, 9.9, np.nan, 30],
        confidence=[np.nan] * 5,
    )
    found = {one.column: one for one in labels(scores)}
    assert told(found["duration_s"]) == ["5 to 10 s", "2 to 5 s", None, "under 1 s", "300 s and more"]
    assert told(found["words_per_s"]) == ["2 to 2.5 words/s", "2 to 2.5 words/s", None, None, "under 1 words/s"]
    assert told(found["snr_estimate_db"]) == ["under 0 dB", "10 to 15 dB", "5 to 10 dB", None, "30 dB and more"]
    assert "confidence" not in found
    confident = counted([1] * 100, [0] * 100, confidence=1 - np.linspace(0, 1, 100) ** 3)
    assert len(labels(confident, ["confidence"])[0].values) == NUM_RANGES


def test_a_long_column_is_looked_at_as_a_whole_where_its_beginning_is_promising():
    """What comes first may be sorted: few values there, and ids later."""
    few_first = ["a"] * 15_000 + [f"{number}" for number in range(5_000)]
    assert of(few_first) is None
    assert of([f"v{number % 40}" for number in range(20_000)]).values[:2] == ("v0", "v1")
    assert len(of([f"{number / 7:.3f}" for number in range(20_000)]).values) == NUM_RANGES


def test_no_recordings_have_no_slices():
    assert labels(counted([], [], {"x": pa.array([], pa.string()), "y": pa.array([], pa.float64())})) == ()
