"""How a run decodes, settled once before it starts: which decoder, which language models, every number filled in.

Travels to the decoders and makes the fingerprint, so it holds the contents' hash of every file it names. Knows nothing
of how a decoder searches; numba and the decoders' packages are not imported here.
"""

import dataclasses
import hashlib
import importlib.util
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline import store
from pipeline.config import DecodeConfig
from pipeline.decode.directory import LANGUAGE_MODEL, UNIGRAMS, read_directory
from pipeline.decode.options import FOR_PHONES, PHONE_WEIGHTS, WEIGHTS, Hotwords, LmWeights, SearchOptions
from pipeline.decode.unigrams import arpa_unigrams, words_of
from pipeline.errors import UsageError
from pipeline.text.lines import contents
from pipeline.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pipeline.decode.phones.fit import Fitted

PACKAGES = {"kenlm": ("kenlm",), "pyctcdecode": ("pyctcdecode", "kenlm")}  # what a decoder needs beside our own
INSTALL = {
    "kenlm": "`make decoders` builds it; with pip, pip install kenlm, which needs a C++ compiler",
    "pyctcdecode": "`make decoders` installs it; with pip, pip install --no-deps pyctcdecode==0.5.0 pygtrie",
}
OF_LANGUAGE_MODELS = ("lm_shares", "unigrams", *WEIGHTS)
GIVE_LEXICON = "give how its words are said (--lexicon FILE; nightshift build-lexicon makes one)"


@dataclass(frozen=True)
class LmSettings:
    """One language model of a run."""

    location: str  # a KenLM binary or an ARPA file: an absolute path or a URL
    unigrams: str | None  # a file of words, likewise
    weights: LmWeights
    content: str  # the hash of the model
    unigrams_content: str | None
    directory: str | None = None  # the decoder directory that it comes from


@dataclass(frozen=True)
class LexiconSettings:
    """How the words of a run are said."""

    location: str  # an absolute path or a URL
    content: str
    phone_map: str | None = None  # a file, likewise
    phone_map_content: str | None = None


@dataclass(frozen=True)
class DecodeSettings:
    """A run's decoding."""

    decoder: str = "greedy"
    models: tuple[LmSettings, ...] = ()
    lexicon: LexiconSettings | None = None  # of a model of phonemes, to make words of them
    search: SearchOptions = field(default_factory=SearchOptions)
    hotwords: Hotwords = field(default_factory=Hotwords)
    threads: int | None = None  # of one actor; None: the CPUs of its node

    @property
    def as_pyctcdecode(self) -> bool:
        return self.decoder == "pyctcdecode" or self.search.compat

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def that_shape_results(self) -> dict[str, Any]:
        """For the fingerprint: plain values, and of what the chosen decoder does not use, nothing."""
        shaping: dict[str, Any] = {"decode.decoder": self.decoder}
        if self.decoder == "greedy":
            return shaping
        for name in WEIGHTS:
            values = [getattr(model.weights, name) for model in self.models]
            shaping[f"decode.{name}"] = values[0] if len(set(values)) == 1 else values
        shares = [model.weights.share for model in self.models]
        shaping["decode.lm_shares"] = shares if len(set(shares)) > 1 else None  # equal ones are a plain mean
        shaping["decode.lm"] = [f"contents {model.content}" for model in self.models]
        shaping["decode.unigrams"] = [
            f"contents {model.unigrams_content}" if model.unigrams_content else None for model in self.models
        ]
        lexicon = self.lexicon
        shaping["decode.lexicon"] = f"contents {lexicon.content}" if lexicon else None
        mapped = lexicon.phone_map_content if lexicon else None
        shaping["decode.phone_map"] = f"contents {mapped}" if mapped else None
        words = "\n".join(self.hotwords.words)
        shaping["decode.hotwords"] = f"contents {_hash(words.encode())}" if words else None
        shaping["decode.hotword_weight"] = self.hotwords.weight
        return shaping | {f"decode.{name}": value for name, value in dataclasses.asdict(self.search).items()}


def settle(config: DecodeConfig, vocabulary: Vocabulary) -> DecodeSettings:
    """What the configuration amounts to with a model of these labels. Reads the files it names, once."""
    decoder = config.decoder
    if decoder == "auto":
        decoder = "native" if config.lm or config.lexicon else "greedy"
    _check_kind(config, decoder, vocabulary)
    for package in PACKAGES.get(decoder, ()):
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"decode.decoder = {decoder} needs the package {package}, not installed: {INSTALL[package]}"
            )
    if decoder == "greedy":
        return DecodeSettings()
    if decoder == "pyctcdecode" and len(config.lm) > 1:
        raise UsageError("decode.decoder = pyctcdecode takes one language model here; native takes several")
    weights = PHONE_WEIGHTS if vocabulary.phonemes else LmWeights()
    return DecodeSettings(
        decoder=decoder,
        models=tuple(
            _language_model(location, replace(weights, share=share), config)
            for location, share in zip(config.lm, config.lm_shares or [1.0] * len(config.lm), strict=True)
        ),
        lexicon=_lexicon(config),
        search=config.search(FOR_PHONES if vocabulary.phonemes else None),
        hotwords=Hotwords(_hotwords(config.hotwords), config.hotword_weight),
        threads=config.threads,
    )


def without_effect(config: DecodeConfig, vocabulary: Vocabulary) -> list[str]:
    """Warnings of settings that somebody made and the chosen decoder does not look at."""
    made = [key.name for key in dataclasses.fields(config) if getattr(config, key.name) != key.default]
    if config.decoder == "greedy" or (config.decoder == "auto" and not config.lm and not config.lexicon):
        idle = [name for name in made if name not in ("decoder", "actors")]
        lack = "lexicon (--lexicon)" if vocabulary.phonemes else "language model (--lm)"
        why = "decoding is greedy" + ("" if config.decoder == "greedy" else f", as there is no {lack}")
    elif not config.lm:
        idle, why = [name for name in made if name in OF_LANGUAGE_MODELS], "there is no language model (--lm)"
    else:
        idle, why = [], ""
    told = [f"{', '.join(f'decode.{name}' for name in idle)} without effect: {why}"] if idle else []
    if config.phone_map and not config.lexicon and "phone_map" not in idle:
        told.append("decode.phone_map without effect: the model writes letters, and takes no lexicon")
    return told


def unigrams_of(model: LmSettings, as_pyctcdecode: bool) -> Collection[str] | None:
    """The known words as a search is given them; None: those of the language model itself.

    pyctcdecode takes an ARPA's own where it is given none, and has none at all where a list is empty.
    """
    if model.unigrams is None:
        return arpa_unigrams(model.location) if as_pyctcdecode and model.location.endswith(".arpa") else None
    data = _the_same(model.unigrams, "decode.unigrams", model.unigrams_content)
    words = _words(data, "decode.unigrams", model.unigrams)
    return words if words or as_pyctcdecode else None


def lexicon_of(settings: LexiconSettings, vocabulary: Vocabulary) -> "Fitted":
    """The lexicon as the model can say it; that its files are those of the run's start is checked."""
    from pipeline.decode.phones.fit import fitted
    from pipeline.text.phone_map import parse_phone_map
    from pipeline.text.pronunciations import parse_lexicon

    lexicon = parse_lexicon(_the_same(settings.location, "decode.lexicon", settings.content), settings.location)
    where, phone_map = settings.phone_map, None
    if where is not None:
        phone_map = parse_phone_map(_the_same(where, "decode.phone_map", settings.phone_map_content), where)
    try:
        return fitted(lexicon, vocabulary, phone_map)
    except UsageError as error:
        raise UsageError(f"decode.lexicon = {settings.location}: {error}") from error


def check_same(location: str, found: str, expected: str | None) -> None:
    """By the hashes of what lies there on this node and of what lay there when the run was started."""
    if found != expected:
        raise UsageError(f"{location} on {socket.gethostname()} is not the file that the run was started with")


def _the_same(location: str, what: str, expected: str | None) -> bytes:
    data = _contents(location, what)
    check_same(location, _hash(data), expected)
    return data


def _check_kind(config: DecodeConfig, decoder: str, vocabulary: Vocabulary) -> None:
    """Refuse what is made for the other kind of model: letters or phonemes."""
    if decoder == "greedy":
        return
    if not vocabulary.phonemes:
        if config.lexicon:
            raise UsageError(
                f"decode.lexicon = {config.lexicon}: the model writes letters, and spells its words itself; "
                "a lexicon (--lexicon) is for models of phonemes"
            )
        return
    if decoder != "native":
        raise UsageError(f"decode.decoder = {decoder}: the model writes phonemes, of which only native makes words")
    if not config.lexicon:
        asked = f"decode.lm = {config.lm[0]}" if config.lm else "decode.decoder = native"
        raise UsageError(f"{asked}: the model writes phonemes, and a language model knows words: {GIVE_LEXICON}")
    if config.compat:
        raise UsageError("decode.compat: the model writes phonemes, of which pyctcdecode makes no words")


def _lexicon(config: DecodeConfig) -> LexiconSettings | None:
    if not config.lexicon:
        return None
    where = store.absolute(os.path.expanduser(config.lexicon))
    mapped = store.absolute(os.path.expanduser(config.phone_map)) if config.phone_map else None
    return LexiconSettings(
        location=where,
        content=_hash(_contents(where, "decode.lexicon")),
        phone_map=mapped,
        phone_map_content=_hash(_contents(mapped, "decode.phone_map")) if mapped else None,
    )


def _words(data: bytes, what: str, location: str) -> tuple[str, ...]:
    try:
        return words_of(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} = {location}: not UTF-8 ({error.reason} at byte {error.start})") from error


def _language_model(location: str, weights: LmWeights, config: DecodeConfig) -> LmSettings:
    """`weights`: where neither the configuration nor a decoder directory names others."""
    from pipeline.lm.model import lm_hash

    unigrams, directory = config.unigrams, None
    where = store.absolute(os.path.expanduser(location))
    files, path = store.locate(where)
    if files.isdir(path):
        found, directory = read_directory(where), where
        if found.model is None:
            raise UsageError(f"decode.lm = {location}: a decoder directory without a language model")
        where, weights = found.model, replace(found.weights, share=weights.share)
        unigrams = unigrams or f"{directory.rstrip('/')}/{LANGUAGE_MODEL}/{UNIGRAMS}"
    given = {name: getattr(config, name) for name in WEIGHTS if getattr(config, name) is not None}
    unigrams = store.absolute(os.path.expanduser(unigrams)) if unigrams else None
    return LmSettings(
        location=where,
        unigrams=unigrams,
        weights=replace(weights, **given),
        content=lm_hash(where),
        unigrams_content=_hash(_contents(unigrams, "decode.unigrams")) if unigrams else None,
        directory=directory,
    )


def _hotwords(location: str | None) -> tuple[str, ...]:
    what = "decode.hotwords"
    return _words(_contents(location, what), what, location) if location else ()


def _contents(location: str, what: str) -> bytes:
    return contents(location, f"{what} =")


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
