"""The whole run on one screen: every stage in order, with what enters and what leaves. Start reading here.

A stage is a callable on a unit, the recordings of some minutes of audio. How units are carried from stage to stage,
in one process or by Ray Data, is `carry`'s; which units there are, and which are done, is `run`'s.
"""

import os
from dataclasses import replace
from functools import partial

from pipeline.carry import RunStage, Stage
from pipeline.config import Config, EncodeConfig
from pipeline.decode.greedy import GreedyDecoder
from pipeline.decode.settings import DecodeSettings
from pipeline.emissions import Keeping, KeptUnits
from pipeline.evaluation.loading import Loader
from pipeline.evaluation.scoring import Aligner, How, ScoredWriter
from pipeline.models.locate import model_hash, portable_name
from pipeline.read.reader import Reader
from pipeline.resources import Pools, one_process
from pipeline.run import Run, vocabulary_of
from pipeline.score import Scorer, ScoreSettings
from pipeline.text.vocabulary import Vocabulary
from pipeline.write import Writer


def transcription(
    config: Config, settled: DecodeSettings, scoring: ScoreSettings, run: Run, pools: Pools
) -> list[Stage]:
    """A unit's id -> its part and its commit in the run directory."""
    model, language, keep = config.encode.model, config.encode.language, config.encode.keep_emissions
    weights, vocabulary = model_hash(model, language), Vocabulary.of_model(model, language)
    encode = replace(config.encode, model=portable_name(model), threads=pools.encode_threads)
    decode = replace(settled, threads=pools.decode_threads)
    return [
        Stage("read", partial(Reader, config.read, run.load), pools.tasks),  # manifest rows -> 16 kHz mono audio
        Stage("encode", partial(encoder, encode, weights), pools.encode),  # audio -> emissions: log-probs per frame
        Stage("decode", partial(decoder, decode, vocabulary, keep), pools.decode),  # emissions -> text, words, n-best
        Stage("score", partial(Scorer, scoring), pools.tasks),  # text and reference -> error counts
        Stage("write", partial(Writer, run, keep), pools.tasks),  # recordings -> a part, then its commit
    ]


def decoding(settled: DecodeSettings, scoring: ScoreSettings, kept: Run, run: Run, pools: Pools) -> list[Stage]:
    """The same from the emissions that another run has kept."""
    decode = replace(settled, threads=pools.decode_threads)
    return [
        Stage("load", partial(KeptUnits, run.load, kept), pools.tasks),  # manifest rows -> emissions
        Stage("decode", partial(decoder, decode, vocabulary_of(kept)), pools.decode),
        Stage("score", partial(Scorer, scoring), pools.tasks),
        Stage("write", partial(Writer, run), pools.tasks),
    ]


def evaluation(how: How, scored: Run, run: Run, pools: Pools) -> list[Stage]:
    """The rows of a run compared with references once more, as columns and without recordings."""
    alone = pools.tasks.actors is not None  # in one process, which has all CPUs to itself
    tasks = replace(pools.tasks, actors=len(os.sched_getaffinity(0))) if alone else pools.tasks
    return [
        Stage("load", partial(Loader, run, scored.folder, how), tasks),  # the run's parts -> rows
        Stage("align", partial(Aligner, how), tasks),  # texts -> counts and alignments
        Stage("write", partial(ScoredWriter, run), tasks),  # scored rows -> a part, then its commit
    ]


def texts(config: Config, settled: DecodeSettings) -> list[Stage]:
    """A transcription without a run directory, in this process: recordings -> hypotheses."""
    pools = one_process(config)
    model, language = config.encode.model, config.encode.language
    weights, vocabulary = model_hash(model, language), Vocabulary.of_model(model, language)
    decode = replace(settled, threads=pools.decode_threads)
    return [
        Stage("read", partial(Reader, config.read, lambda unit: unit), pools.tasks),
        Stage("encode", partial(encoder, config.encode, weights), pools.encode),
        Stage("decode", partial(decoder, decode, vocabulary), pools.decode),
    ]


def encoder(config: EncodeConfig, expected_hash: str) -> RunStage:
    """Imported where it runs: torch takes a second and 200 MB, and of all processes only encoders need it."""
    from pipeline.encode import Encoder

    return Encoder(config, expected_hash)


def decoder(settings: DecodeSettings, vocabulary: Vocabulary, keep_emissions: bool = False) -> RunStage:
    """The decoder of that name; numba, too, is imported where it runs."""
    if settings.decoder == "greedy":
        stage: RunStage = GreedyDecoder(vocabulary)
    else:
        from pipeline.decode.backends import BeamDecoder

        stage = BeamDecoder(settings, vocabulary)
    return Keeping(stage) if keep_emissions else stage
