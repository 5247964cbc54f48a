"""The whole run on one screen: every stage in order, with what enters and what leaves. Start reading here.

A stage is a callable on a unit, the recordings of some minutes of audio. How units are carried from stage to stage,
in one process or by Ray Data, is `carry`'s; which units there are, and which are done, is `run`'s.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline.carry import RunStage, Stage
from pipeline.config import Config, EncodeConfig
from pipeline.decode.greedy import GreedyDecoder
from pipeline.models.locate import locate
from pipeline.read.reader import Reader
from pipeline.records import Unit
from pipeline.resources import Pools
from pipeline.run import Run
from pipeline.score import score
from pipeline.text.vocabulary import Vocabulary
from pipeline.write import Writer


def transcription(config: Config, run: Run, pools: Pools) -> list[Stage]:
    """A unit's id -> its part and its commit in the run directory."""
    vocabulary = Vocabulary.from_pretrained(locate(config.encode.model))
    encode = replace(config.encode, threads=pools.encode_threads)
    return [
        Stage("read", partial(Reader, config.read, run.load), pools.tasks),  # manifest rows -> 16 kHz mono audio
        Stage("encode", partial(encoder, encode), pools.encode),  # audio -> emissions: log-probs per frame
        Stage("decode", partial(GreedyDecoder, vocabulary), pools.decode),  # emissions -> text, words, confidences
        Stage("score", lambda: score, pools.tasks),  # text and reference -> error counts
        Stage("write", partial(Writer, run), pools.tasks),  # recordings -> a part, then its commit
    ]


def texts(config: Config, pools: Pools, load: Callable[[Unit], Unit]) -> list[Stage]:
    """The same without a run directory: recordings -> hypotheses, for a few files in this process."""
    vocabulary = Vocabulary.from_pretrained(locate(config.encode.model))
    return [
        Stage("read", partial(Reader, config.read, load), pools.tasks),
        Stage("encode", partial(encoder, config.encode), pools.encode),
        Stage("decode", partial(GreedyDecoder, vocabulary), pools.decode),
    ]


def encoder(config: EncodeConfig) -> RunStage:
    """Imported where it runs: torch takes a second and 200 MB, and of all processes only encoders need it."""
    from pipeline.encode import Encoder

    return Encoder(config)
