"""The stages that score a unit: columns of the evaluated run, then counts and alignments, then a part of scored rows.

Columns throughout, and no recordings: a million of those would take minutes to make. What is counted, and of which
recordings, is what the score stage of a transcription does. Knows nothing of which parts a unit is, or of rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit import Tally
from pipeline.errors import UsageError
from pipeline.evaluation import rows
from pipeline.evaluation.alignment import align, oracle
from pipeline.evaluation.references import COLUMN
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Errors
from pipeline.records import COUNT_FIELDS, COUNTED, ErrorCounts
from pipeline.score import ScoreSettings, normalizer_of, phonemizer_of, said
from pipeline.unit import Unit
from pipeline.write import Writer, parquet

if TYPE_CHECKING:
    from pipeline.text.normalize import Normalizer

TALLIED = ("duration_s", *(f"{kind}_{name}" for kind in COUNTED for name in COUNT_FIELDS))
AS_THEY_ARE = ("id", "uri", "status", "error", "duration_s", "confidence", "snr_estimate_db", "reference", "text")
DISTINCT = (
    *("id", "uri", "duration_s", "confidence", "reference", "text"),
    *("normalized_reference", "normalized_text", "char_alignment", "word_confidences"),
    *("reference_phones", "heard_phones", "phone_alignment"),
)
SPACES = "".join(char for char in map(chr, range(0x3001)) if char.isspace())  # what `str.split` splits at
UNEVEN = rf"^ | $|  |[{SPACES.replace(' ', '')}]"  # of a text whose words are not one space apart


@dataclass(frozen=True)
class How:
    """How the rows of a run are scored."""

    settings: ScoreSettings  # its language only where phones are compared anew
    phonemes: bool  # whether the run's model writes phones: then a text without words is no spelling
    takes_phones: bool  # whether the run has said its references, as they are to be said
    joined: bool  # whether references come from the evaluation's manifest


# ---- align


class Aligner:
    """Columns of rows -> columns of scored rows."""

    def __init__(self, how: How) -> None:
        self._how = how
        self._normalize, self._phonemizer = normalizer_of(how.settings), phonemizer_of(how.settings)

    def __call__(self, unit: Unit) -> Unit:
        assert unit.columns is not None
        there = {name: _whole(unit.columns[name]) for name in unit.columns.column_names}
        compared = _and(pc.equal(there["status"], "ok"), there["reference"].is_valid(), there["text"].is_valid())
        spelt = there["words"].is_valid() if self._how.phonemes else there["text"].is_valid()
        nbest = there["nbest"]
        texts = [there["reference"], pc.if_else(spelt, there["text"], None), nbest.values]
        reference, text, alternatives = normalized(texts, self._normalize)
        nbest = pa.ListArray.from_arrays(nbest.offsets, alternatives, mask=nbest.is_null())
        passed = [name for name in there if name.startswith(COLUMN)]
        columns = {
            **{name: there[name] for name in AS_THEY_ARE},
            "normalized_reference": reference,
            "normalized_text": text,
            "word_confidences": _confidences(there["words"], text),
            **self._counted(_and(compared, spelt), reference, text, nbest),
            **self._phones(there, compared),
            **{name.removeprefix(COLUMN): there[name] for name in passed},
        }
        fields = [pa.field(name.removeprefix(COLUMN), there[name].type) for name in passed]
        schema = pa.schema([*rows.SCHEMA, *fields])
        unit.columns = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
        return unit

    def _counted(self, compared: pa.Array, reference: pa.Array, text: pa.Array, nbest: pa.Array) -> dict[str, pa.Array]:
        reference = pc.if_else(compared, reference, None)
        aligned = align(reference, text)
        has_nbest = _and(compared, pc.greater(pc.list_value_length(nbest), 0))
        best = oracle(pc.if_else(has_nbest, reference, None), nbest)
        return {
            **_counts("word", aligned.words, compared),
            **_counts("char", aligned.chars, compared),
            **_counts("oracle", best, has_nbest),
            "word_alignment": aligned.word_alignment,
            "char_alignment": aligned.char_alignment,
        }

    def _phones(self, there: dict[str, pa.Array], compared: pa.Array) -> dict[str, pa.Array]:
        if not self._how.phonemes:
            names = (Level.PHONES.said, Level.PHONES.heard, Level.PHONES.alignment, *Level.PHONES.counts)
            return {name: pa.nulls(len(compared), rows.SCHEMA.field(name).type) for name in names}
        heard = spaced(pc.binary_join(there["phones"], " "))
        compared = _and(compared, heard.is_valid())
        phones = pc.if_else(compared, self._said(there, compared), None)
        aligned = align(phones, heard)
        return {
            Level.PHONES.said: phones,
            Level.PHONES.heard: heard,
            Level.PHONES.alignment: aligned.word_alignment,
            **_counts("phone", aligned.words, phones.is_valid()),
        }

    def _said(self, there: dict[str, pa.Array], compared: pa.Array) -> pa.Array:
        """References in phones, each text said once; null where nobody has said them."""
        if self._how.takes_phones:
            return there[Level.PHONES.said]
        if self._phonemizer is None:
            return pa.nulls(len(compared), pa.string())
        references = pc.if_else(compared, there["reference"], None).dictionary_encode()
        phones = pa.array(said(self._phonemizer, references.dictionary.to_pylist()), pa.string())
        return phones.take(references.indices)


def normalized(texts: Sequence[pa.Array], normalize: "Normalizer") -> list[pa.Array]:
    """Words one space apart, as the score stage compares them. What is there several times is normalised once."""
    if not normalize.steps:
        return [spaced(text) for text in texts]
    encoded = pa.concat_arrays(texts).dictionary_encode()
    made = spaced(pa.array(map(normalize, encoded.dictionary.to_pylist()), pa.string())).take(encoded.indices)
    starts = np.cumsum([0, *map(len, texts)])
    return [made.slice(start, len(text)) for start, text in zip(starts[:-1].tolist(), texts, strict=True)]


def spaced(texts: pa.Array) -> pa.Array:
    """In Python only where there is something to do."""
    uneven = pc.match_substring_regex(texts, UNEVEN)
    if not pc.any(uneven).as_py():
        return texts
    even = pa.array([" ".join(text.split()) for text in texts.filter(uneven).to_pylist()], pa.string())
    return pc.replace_with_mask(texts, pc.fill_null(uneven, False), even)


def _counts(kind: str, errors: Errors, counted: pa.Array) -> dict[str, pa.Array]:
    """Null of a recording that was not counted, which differs from one without errors."""
    mask = pc.invert(counted).to_numpy(zero_copy_only=False)
    return {
        f"{kind}_{name}": pa.array(column.astype(np.int32), mask=mask)
        for name, column in zip(COUNT_FIELDS, errors, strict=True)
    }


def _confidences(confidences: pa.Array, text: pa.Array) -> pa.Array:
    """As they are where the normaliser has left as many words and each has one; else null."""
    num_words = pc.if_else(pc.equal(text, ""), 0, pc.add(pc.count_substring(text, " "), 1))
    fits = _and(pc.equal(pc.list_value_length(confidences), num_words), confidences.is_valid())
    known = np.ones(len(confidences), bool)
    if confidences.values.null_count:
        unknown = pc.list_parent_indices(confidences).filter(pc.list_flatten(confidences).is_null())
        known[unknown.to_numpy()] = False
    mask = pc.invert(_and(fits, pa.array(known)))
    return pa.ListArray.from_arrays(confidences.offsets, confidences.values, mask=mask)


def _and(*masks: pa.Array) -> pa.Array:
    """What is not known is not so."""
    return pc.fill_null(reduce(pc.and_, masks), False)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        raise UsageError(f"a unit has more than 2 GB of text in {column.type}")
    return whole


# ---- write


class ScoredWriter(Writer):
    """Scored rows -> a part and its commit."""

    def part(self, unit: Unit) -> bytes:
        assert unit.columns is not None
        return parquet(unit.columns, DISTINCT)

    def tally(self, unit: Unit) -> Tally:
        assert unit.columns is not None
        return tally_of(unit.columns)


def tally_of(table: pa.Table) -> Tally:
    """What `Tally.of` says of recordings."""
    is_ok, has_reference = pc.equal(table["status"], "ok"), table["reference"].is_valid()
    errors = table["error"].filter(pc.invert(is_ok))
    ok = table.select(TALLIED).filter(is_ok)  # without the texts, which are most of it
    in_words, in_phones = ok["word_hits"].is_valid(), ok["phone_hits"].is_valid()
    uncompared = _and(has_reference.filter(is_ok), pc.invert(in_words), pc.invert(in_phones))
    return Tally(
        num_recordings=len(table),
        num_ok=len(ok),
        num_failed=len(errors),
        failures={one["values"] or "": one["counts"] for one in pc.value_counts(errors).to_pylist()},
        audio_s=pc.sum(ok["duration_s"]).as_py() or 0.0,
        num_scored=pc.sum(in_words).as_py() or 0,
        num_phones_scored=pc.sum(in_phones).as_py() or 0,
        num_unscored=pc.sum(pc.and_(pc.invert(is_ok), has_reference)).as_py() or 0,
        num_uncompared=pc.sum(uncompared).as_py() or 0,
        words=_summed(ok, "word"),
        chars=_summed(ok, "char"),
        phones=_summed(ok, "phone"),
    )


def _summed(table: pa.Table, kind: str) -> ErrorCounts:
    return ErrorCounts(*(pc.sum(table[f"{kind}_{name}"]).as_py() or 0 for name in COUNT_FIELDS))
