"""Configuration: one frozen dataclass per stage, from a TOML file and `--set section.key=value`.

Knows nothing of what the values do. An unknown or ill-typed key is an error with a suggestion, never a default.
"""

import dataclasses
import difflib
import math
import os
import tomllib
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.decode.options import Hotwords, SearchOptions
from pipeline.errors import UsageError

SourceKind = Literal[
    "auto",
    "files",
    "parquet",
    "jsonlines",
    "csv",
    "webdataset",
    "nemo-tarred",
    "lhotse",
    "shar",
    "kaldi",
    "librispeech",
    "common-voice",
    "datasets",
    "hub",
]


def tuning(default: Any) -> Any:
    """A field that changes how fast a run goes but not what it writes: no part of the fingerprint."""
    return field(default=default, metadata={"tuning": True})


@dataclass(frozen=True)
class ReadConfig:
    source: SourceKind = "auto"  # what the input is; auto: recognised by what lies there
    channels: Literal["mix", "each"] | int = "mix"  # their mean, a row for each, or the one of that number, from 0
    unit_s: float | None = None  # audio seconds per unit; None: a 64th of the corpus, 30 s to 10 min
    limit: int | None = None  # only the first so many recordings of the input
    id_column: str | None = None  # None: the first of the usual names that the input has
    reference_column: str | None = None  # None: likewise
    changed: Literal["refuse", "reread"] = tuning("refuse")  # what to do with files that changed since they were listed
    # Limits are no part of the fingerprint, so that what has failed by one can be tried again with a higher one.
    max_duration_s: float = tuning(14_400.0)  # a longer recording fails; four hours of samples are 0.9 GB
    max_rate_hz: int = tuning(768_000)  # a higher sample rate is a damaged header
    max_channels: int = tuning(64)  # likewise
    max_members: int = tuning(250_000)  # files in one tar shard; with more it is not listed further
    max_unpacked_gb: float = tuning(20.0)  # what one compressed shard or manifest may unpack to
    storage_deadline_s: float = tuning(300.0)  # how long a store that fails for the moment is asked again, writing too
    max_memory_gb: float = tuning(4.0)  # address space of the process that decodes audio
    decode_timeout_s: float = tuning(120.0)  # for one recording, then its decoder is killed

    def __post_init__(self) -> None:
        _positive("read", self, "unit_s", "limit", "storage_deadline_s", "decode_timeout_s")
        _positive("read", self, *(key.name for key in dataclasses.fields(self) if key.name.startswith("max_")))
        if not isinstance(self.channels, str) and self.channels < 0:
            raise UsageError(f"read.channels must be mix, each, or a number from 0, not {self.channels}")


@dataclass(frozen=True)
class EncodeConfig:
    model: str = ""  # checkpoint directory, its URL, or a name on the Hugging Face hub
    device: Literal["auto", "cpu", "cuda"] = tuning("auto")  # auto: CUDA where there is a GPU
    actors: int | None = tuning(None)  # None: one per GPU, else as many as the CPUs carry
    threads: int | None = tuning(None)  # CPU threads of one actor; None: its share of the CPUs
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"  # of matrix products; norms and sums are always fp32
    language: str = ""  # of a model with language adapters; empty: the one it was saved with
    batch_s: float | None = tuning(None)  # audio seconds computed at once; None: 600 on a GPU, 40 on a CPU
    whole_s: float = 120.0  # a longer recording passes through the transformer in windows
    window_s: float = 60.0  # what a window sees
    overlap_s: float = 5.0  # of it on either side context alone, for which the neighbouring window counts
    keep_emissions: bool = False  # write them beside the parts, in half precision, for `nightshift decode`

    def __post_init__(self) -> None:
        _positive("encode", self, "actors", "threads", "batch_s", "whole_s", "window_s")
        if not 0 <= 2 * self.overlap_s < self.window_s:
            limit = f"half of encode.window_s = {self.window_s:g}"
            raise UsageError(f"encode.overlap_s must be from 0 to under {limit}, not {self.overlap_s:g}")


@dataclass(frozen=True)
class DecodeConfig:
    decoder: Literal["auto", "native", "greedy", "pyctcdecode", "kenlm"] = (
        "auto"  # auto: native with an lm or a lexicon, else greedy
    )
    lm: tuple[str, ...] = ()  # KenLM binaries, ARPA files or decoder directories, by path or URL
    lm_shares: tuple[float, ...] = ()  # what each counts among several; empty: all the same
    lexicon: str | None = None  # words and how they are said, for a model of phonemes: as CMUdict or MFA write it
    phone_map: str | None = None  # a file that says which phones of the model stand for those of the lexicon
    unigrams: str | None = None  # a file of words; None: those of the decoder directory, else of the language model
    # None: what the decoder directory says, else the defaults of `LmWeights`, with a lexicon `PHONE_WEIGHTS`
    alpha: float | None = None
    beta: float | None = None
    unk_score_offset: float | None = None
    score_boundary: bool | None = None
    beam_width: int = SearchOptions.beam_width
    beam_prune_logp: float | None = None  # None: what suits the search, for letters or for words in phones
    token_min_logp: float | None = None
    prune_history: bool = SearchOptions.prune_history
    num_best: int = SearchOptions.num_best
    max_effort: float = SearchOptions.max_effort
    compat: bool = SearchOptions.compat
    hotwords: str | None = None  # a file of words, one a line
    hotword_weight: float = Hotwords.weight
    actors: int | None = tuning(None)  # None: one per node; of decoders that are held to one thread, one per CPU
    threads: int | None = tuning(None)  # of one actor; None: the CPUs of its node

    def __post_init__(self) -> None:
        _positive("decode", self, "actors", "threads")
        _finite("decode", self, "alpha", "beta", "unk_score_offset", "hotword_weight")
        if self.lm_shares and len(self.lm_shares) != len(self.lm):
            raise UsageError(f"decode.lm_shares has {len(self.lm_shares)} numbers for {len(self.lm)} language models")
        if any(not 0 < share < math.inf for share in self.lm_shares):
            raise UsageError(f"decode.lm_shares must be above zero and finite, not {list(self.lm_shares)}")
        try:
            self.search()
        except UsageError as error:
            raise UsageError(f"decode.{error}") from error

    def search(self, defaults: SearchOptions | None = None) -> SearchOptions:
        """The part of these settings that a beam search takes as it is."""
        given = {key.name: getattr(self, key.name) for key in dataclasses.fields(SearchOptions)}
        chosen = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(defaults or SearchOptions(), **chosen)


@dataclass(frozen=True)
class ScoreConfig:
    # Empty: as none, which compares no phones and texts as they are; decoding again, as the run has it.
    language: str = ""  # of the phonemiser: references are said in it, and phones compared
    normalizer: str = ""  # of both sides before words and characters are counted: basic, english, unicode, or a | b


@dataclass(frozen=True)
class RunConfig:
    address: str | None = tuning(None)  # Ray cluster: local, auto, HOST:PORT; here: this process alone, without Ray
    cpus: int | None = tuning(None)  # CPUs of a local cluster; None: those of this machine
    max_failed_share: float | None = tuning(None)  # above this share of failed recordings the exit code is 1
    log_every_s: float = tuning(30.0)  # between progress lines where stderr is not a terminal

    def __post_init__(self) -> None:
        _positive("run", self, "cpus", "log_every_s")
        if self.max_failed_share is not None and not 0 <= self.max_failed_share <= 1:
            raise UsageError(f"run.max_failed_share is a share between 0 and 1, not {self.max_failed_share}")

    @property
    def cluster(self) -> str:
        """Where to run: what is configured, else what Ray itself would take, else a cluster of our own."""
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        if "://" in address:
            origin = "run.address" if self.address else "RAY_ADDRESS"
            raise UsageError(f"{origin} = {address}: only HOST:PORT of a cluster is supported, local, auto, or here")
        return address


@dataclass(frozen=True)
class Config:
    read: ReadConfig = field(default_factory=ReadConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)

    def that_shape_results(self) -> dict[str, Any]:
        """The settings that what is written depends on, flat: what a resumed run must share."""
        return {
            f"{section.name}.{key.name}": getattr(getattr(self, section.name), key.name)
            for section in dataclasses.fields(self)
            for key in dataclasses.fields(getattr(self, section.name))
            if not key.metadata.get("tuning")
        }


def load(path: str | None = None, overrides: Iterable[str] = ()) -> Config:
    """The configuration of a TOML file, or the defaults, with `section.key=value` overrides applied in order."""
    sections = read_toml(path, "configuration file") if path is not None else {}
    for override in overrides:
        key, separator, text = override.partition("=")
        section, dot, name = key.strip().partition(".")
        if not (separator and dot):
            raise UsageError(f"--set {override}: give it as section.key=value, for example encode.device=cpu")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a bare word is a string
        table = sections.setdefault(section, {})
        if not isinstance(table, dict):
            raise UsageError(f"configuration: {section} is a section, not a value")
        table[name] = value
    return _build(sections)


def read_toml(path: str, what: str) -> dict[str, Any]:
    """A file's sections."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{what} {path} is not TOML: {error}") from error


def _build(sections: Mapping[str, Any]) -> Config:
    known = {section.name: typing.get_type_hints(Config)[section.name] for section in dataclasses.fields(Config)}
    built = {}
    for name, values in sections.items():
        if name not in known:
            raise UsageError(f"unknown configuration section {name}{suggestion(name, known)}")
        candidates = [f"{section}.{key}" for section in known for key in typing.get_type_hints(known[section])]
        built[name] = known[name](**typed(known[name], name, values, candidates))
    return Config(**built)


def typed(kind: type, section: str, values: Any, candidates: Collection[str] = ()) -> dict[str, Any]:
    """The values of a section, each of the type that its field in the dataclass declares. For a key that it does not
    have one of its own is suggested, or one of `candidates`, which name their sections.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"configuration: {section} is a section, not a value")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            close = suggestion(f"{section}.{key}", candidates) if candidates else suggestion(key, hints)
            raise UsageError(f"unknown configuration key {section}.{key}{close}")
    return {key: _typed(f"{section}.{key}", value, hints[key]) for key, value in values.items()}


def _typed(key: str, value: Any, hint: Any) -> Any:
    """The value as the type its field declares; an integer may stand for a float, nothing else is bent."""
    is_choice = typing.get_origin(hint) in (types.UnionType, typing.Union)  # `Literal[...] | int` is the second
    options = typing.get_args(hint) if is_choice else (hint,)
    if value == "none" and type(None) in options:  # TOML has no null
        return None
    if typing.get_origin(hint) is tuple:  # several of one kind, or one
        values = [] if value == "none" else value if isinstance(value, list) else [value]
        return tuple(_typed(key, one, typing.get_args(hint)[0]) for one in values)
    for option in options:
        if typing.get_origin(option) is Literal and value in typing.get_args(option):
            return value
        if option is float and type(value) in (int, float):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise UsageError(f"{key} = {value!r}: expected {' or '.join(map(_type_name, options))}")


def _type_name(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return " or ".join(typing.get_args(option))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return names.get(option, str(option))


def suggestion(name: str, candidates: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(candidates))}"


def _positive(section: str, config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{section}.{name} must be above zero and finite, not {value}")


def _finite(section: str, config: object, *names: str) -> None:
    for name in names:
        if not math.isfinite(getattr(config, name) or 0.0):
            raise UsageError(f"{section}.{name} must be finite, not {getattr(config, name)}")
