"""What `bench decode` works on: text of this machine, a language model of it, simulated emissions of what was held out.

Text and model are kept in a folder between runs, emissions are made anew each time. Knows nothing of decoders.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.demo import sentences
from pipeline.demo.emissions import DIFFICULTIES, FRAME_S, LIKELY_LOGP, VOCABULARY, simulate
from pipeline.records import ErrorCounts, FloatArray

ORDER, PRUNE = 4, (0, 0, 1, 2)
MODEL = "4gram.bin"
LEAST_WORDS = 12  # of an utterance: five seconds


@dataclass(frozen=True)
class Text:
    """What was found on this machine."""

    fingerprint: str
    num_train_sentences: int
    num_train_words: int
    num_held_out_sentences: int
    num_held_out_words: int


@dataclass(frozen=True)
class Sample:
    """Utterances of one difficulty, or of another name where they are not simulated."""

    difficulty: str
    texts: list[str]
    emissions: list[FloatArray]  # each (T, V)

    @property
    def audio_s(self) -> float:
        return seconds(self.emissions)


@dataclass(frozen=True)
class Calibration:
    """What there is to decode, beside the figures that it is meant to have where it is simulated."""

    num_likely: float  # labels above LIKELY_LOGP per frame
    target_num_likely: float | None
    max_p: float
    target_max_p: float | None
    greedy_wer: float
    target_greedy_wer: float | None


def say(text: str) -> None:
    """Progress, for stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def seconds(emissions: list[FloatArray]) -> float:
    return sum(map(len, emissions)) * FRAME_S


def text_of(work: Path) -> Text:
    """The text in the folder; collected first where there is none or where it is another installation's."""
    try:
        text = Text(**json.loads((work / "text.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        text = None
    if text is None or text.fingerprint != sentences.fingerprint():
        say("collecting text from installed packages (once, about a minute)")
        text = write_text(work, sentences.corpus())
    return text


def write_text(work: Path, corpus: sentences.Corpus) -> Text:
    work.mkdir(parents=True, exist_ok=True)
    text = Text(
        sentences.fingerprint(),
        len(corpus.train),
        corpus.num_train_words,
        len(corpus.held_out),
        corpus.num_held_out_words,
    )
    (work / MODEL).unlink(missing_ok=True)  # of another text
    _write(work / "train.txt", lambda path: path.write_text("".join(f"{line}\n" for line in corpus.train)))
    _write(work / "held-out.txt", lambda path: path.write_text("".join(f"{line}\n" for line in corpus.held_out)))
    _write(work / "text.json", lambda path: path.write_text(json.dumps(asdict(text))))
    return text


def language_model_of(work: Path, text: Text) -> Path:
    """The language model of the folder's training text; estimated first where there is none."""
    path = work / MODEL
    if not path.exists():
        say(f"estimating a {ORDER}-gram model of {text.num_train_words:,} words (once)")
        _write(path, lambda unfinished: _estimate(work / "train.txt", unfinished))
    return path


def _estimate(train: Path, out: Path) -> None:
    from pipeline.lm.binary import write_binary
    from pipeline.lm.estimate.build import estimate
    from pipeline.lm.estimate.options import EstimateOptions

    with estimate([str(train)], EstimateOptions(ORDER, PRUNE, discount_fallback=True, memory=1 << 30)) as model:
        write_binary(out, model.words, model.orders)


def utterances(work: Path, num: int, skipped: int = 0) -> list[str]:
    """Held-out sentences of five seconds and more, so many after those skipped; when all are used, the first again."""
    lines = (work / "held-out.txt").read_text().splitlines()
    long = [line for line in lines if line.count(" ") + 1 >= LEAST_WORDS]
    return [long[number % len(long)] for number in range(skipped, skipped + num)]


def sample(difficulty: str, texts: list[str], seed: int = 0) -> Sample:
    parameters = DIFFICULTIES[difficulty]
    return Sample(difficulty, texts, [simulate(text, parameters, seed + i) for i, text in enumerate(texts)])


def calibration(sample: Sample) -> Calibration:
    from pipeline.decode.greedy import greedy
    from pipeline.score import count_words

    frames = np.concatenate(sample.emissions)  # (sum of T, V)
    errors = sum(
        (
            count_words(text, greedy(emissions, VOCABULARY, FRAME_S).text)
            for text, emissions in zip(sample.texts, sample.emissions, strict=True)
        ),
        ErrorCounts(),
    )
    targets = DIFFICULTIES.get(sample.difficulty)
    return Calibration(
        float((frames >= LIKELY_LOGP).sum(axis=1).mean()),
        targets.target_num_likely if targets else None,
        float(np.exp(frames.max(axis=1)).mean()),
        targets.target_max_p if targets else None,
        errors.rate or 0.0,
        targets.target_greedy_errors if targets else None,
    )


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
