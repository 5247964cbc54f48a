"""What `bench decode` works on beside what is simulated: what the bundled model makes of the bundled corpus.

Each input of the corpus is an ordinary run, in this process, that keeps its emissions, and is not done again as long
as neither the model nor the input changes. Knows nothing of decoders.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs.bench_decode_tables import BUNDLED
from jobs.bench_material import Sample
from pipeline import tune
from pipeline.config import Config, DecodeConfig, EncodeConfig, RunConfig
from pipeline.demo import bundled
from pipeline.demo.emissions import LABELS
from pipeline.drive import drive
from pipeline.errors import UsageError
from pipeline.models.locate import model_hash
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import find, fingerprint_of, vocabulary_of
from pipeline.summary import Summary

SEED = 0  # of the order in which recordings are drawn: a few are of all inputs


@dataclass(frozen=True)
class Heard:
    """The corpus as the model hears it."""

    sample: Sample
    model: str  # its hash
    num_recordings: int  # with a reference and emissions, of which the sample may be a part
    num_failed: int


def absent() -> list[str]:
    """What of the model, the language model and the corpus is not there."""
    return [str(path) for path in (bundled.MODEL, bundled.LM, *bundled.INPUTS) if not path.exists()]


def heard(work: Path, num: int) -> Heard:
    """At most so many recordings, drawn from all."""
    runs = [_run(source, work / BUNDLED) for source in bundled.INPUTS]
    texts, emissions = [], []
    for summary in runs:
        run = find(summary.run)
        columns = _columns(vocabulary_of(run).labels)
        for one in tune.sample(run, summary.tally.num_ok, SEED):
            texts.append(one.reference)
            emissions.append(one.emissions[:, columns])
    drawn = np.random.default_rng(SEED).permutation(len(texts))[:num]
    sample = Sample(BUNDLED, [texts[place] for place in drawn], [emissions[place] for place in drawn])
    num_failed = sum(summary.tally.num_failed for summary in runs)
    return Heard(sample, model_hash(str(bundled.MODEL)), len(texts), num_failed)


def _run(source: Path, folder: Path) -> Summary:
    """Greedy, for its text is not what it is for."""
    encode = EncodeConfig(model=str(bundled.MODEL), keep_emissions=True)
    config = Config(encode=encode, decode=DecodeConfig(decoder="greedy"), run=RunConfig(address="here"))
    request = Request(str(source), str(folder), config)
    # Of all that the emissions depend on: the settings, the model's contents among them, and the bytes of the input.
    key = hashlib.sha256(fingerprint_of(request.settings()).encode())
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        key.update(f"{path.relative_to(source)} {path.stat().st_size} ".encode() + path.read_bytes())
    with Progress(config.run.log_every_s) as progress:
        return drive(replace(request, target=str(folder / f"{source.name}-{key.hexdigest()[:16]}")), progress)


def _columns(labels: tuple[str, ...]) -> list[int]:
    """Where the labels of what is simulated are among the model's, so that one search decodes both."""
    if set(labels) != set(LABELS):
        raise UsageError(f"model {bundled.MODEL} has other labels than bench decode is made for: {' '.join(labels)}")
    return [labels.index(label) for label in LABELS]
