"""What an input is. A new kind of source is a file beside this one, a line in `LAID_OUT`, `TABLES` or `KINDS`, a name
in `config.SourceKind`, and for files that may lie beside others their `ENDINGS` and, but for tables, their `NOUNS`.

Nothing that may be a recording is left out unsaid. Lists; reads no audio. What a source yields is kept by
`pipeline.sources.spool` until it is cut into units.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.sources import (
    arrow,
    common_voice,
    delimited,
    hub,
    jsonlines,
    kaldi,
    lhotse,
    librispeech,
    nemo,
    parquet,
    shar,
    tarred,
    webdataset,
)
from pipeline.sources import found as inputs
from pipeline.sources.entries import BYTES_PER_SECOND, Entry, Piece, Source
from pipeline.sources.found import File, Files, Found, Tell

# Of the kinds that may lie side by side in a folder, because nothing but its ending says what a file is. There most
# .json is no table.
ENDINGS = {
    "files": tuple(sorted(BYTES_PER_SECOND)),
    "parquet": (".parquet",),
    "webdataset": (*tarred.ENDINGS, *webdataset.REFUSED),
    "jsonlines": (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
    "csv": delimited.ENDINGS,
}
NOUNS = {"files": "audio file", "parquet": "Parquet file", "webdataset": "tar shard"}
# By ending, what is given by its own name and is not audio, whatever a decoder might make of it.
TEXTS = tuple(
    f".{name}"
    for name in (
        *("txt", "stm", "ctm", "trn", "lst", "list", "scp", "log", "lab", "rttm", "srt", "vtt", "textgrid", "eaf"),
        *("md", "html", "xml", "yaml", "yml", "toml", "pdf", "doc", "docx", "xls", "xlsx"),
    )
)
ARCHIVES = (".zip", ".7z", ".rar")
TABLES_TRIED = 16  # of a folder, to see whether they list audio
BESIDE_AUDIO = ("metadata.csv", "metadata.jsonl")  # in a folder of audio that Hugging Face's datasets would load


class Kind(NamedTuple):
    """A kind of source: in words, how it is recognised, and what makes it."""

    words: str
    recognise: Callable[[Found, ReadConfig], bool]
    make: Callable[[Found, ReadConfig], Source]


class AudioFiles:
    """Loose audio files; the id of a recording is its path below the root."""

    schema = pa.schema([])

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._found = found
        self._audio = found.listed if found.is_one_file else found.listed.ending(*ENDINGS["files"])
        self.description = counted(self._audio, "audio file") + _others(found.listed, self._audio)

    def pieces(self) -> Iterator[Piece]:
        for file in self._audio:
            yield Piece([self._entry(file)])

    def _entry(self, file: File) -> Entry:
        known = bool(file.version)
        return Entry(
            self._found.relative(file),
            self._found.url_of(file),
            size=file.size if known else None,
            version=file.version or None,
        )


# Corpora laid out in a way of their own come before the tables, shards and audio files that they are made of; of those
# the first that recognises an input has it.
LAID_OUT: dict[str, Kind] = {
    "kaldi": Kind("a Kaldi directory (wav.scp)", kaldi.recognised, kaldi.Kaldi),
    "shar": Kind("Lhotse Shar (cuts.*.jsonl.gz and recording.*.tar)", shar.recognised, shar.Shar),
    "nemo-tarred": Kind("tarred NeMo (tars and their manifest)", nemo.recognised, nemo.NemoTarred),
    "lhotse": Kind("Lhotse manifests (recordings, supervisions, cuts)", lhotse.recognised, lhotse.Lhotse),
    "datasets": Kind("a dataset saved to disk (*.arrow)", arrow.recognised, arrow.ArrowDataset),
    "common-voice": Kind("Common Voice (*.tsv, clips/)", common_voice.recognised, common_voice.CommonVoice),
    "librispeech": Kind("LibriSpeech (*.trans.txt)", librispeech.recognised, librispeech.LibriSpeech),
}
# Of those whose audio is part of them: the folders in which tars and tables belong to them.
HOLDING_AUDIO: dict[str, Callable[[Found], set[str]]] = {
    "shar": lambda found: _folders(file for file in found.ending(*lhotse.ENDINGS) if "/cuts." in file.path),
    "nemo-tarred": lambda found: (
        _folders(found.ending(*tarred.ENDINGS))
        | _folders(file for file in found.ending(*jsonlines.ENDINGS) if "manifest" in posixpath.basename(file.path))
    ),
    "datasets": lambda found: set(),
    "librispeech": lambda found: set(),
}
TABLES: dict[str, Kind] = {
    "jsonlines": Kind("a JSON-lines or NeMo manifest", jsonlines.recognised, jsonlines.JsonLines),
    "csv": Kind("a CSV or TSV table", delimited.recognised, delimited.Delimited),
}
KINDS: dict[str, Kind] = {
    **LAID_OUT,
    **TABLES,
    "webdataset": Kind("WebDataset shards (.tar, .tar.gz)", webdataset.recognised, webdataset.WebDataset),
    "parquet": Kind("Parquet files", parquet.recognised, parquet.ParquetFiles),
    "files": Kind(
        f"audio files ({' '.join(ENDINGS['files'])})",
        lambda found, config: found.is_one_file or bool(found.listed.ending(*ENDINGS["files"])),
        AudioFiles,
    ),
}


def open_source(url: str, config: ReadConfig, leave_out: str | None = None, tell: Tell = lambda text: None) -> Source:
    """Recognise an input, or say what was looked for. What lies below the path `leave_out` is no part of it."""
    if config.source == "hub":
        return hub.hub_source(url, config, tell)
    try:
        found = inputs.find(hub.pinned(url, config), leave_out, tell, config.storage_deadline_s)
    except inputs.NothingThere as error:
        maybe = "; if it is the name of a dataset on the Hugging Face hub, say so by --source hub" * hub.is_name(url)
        raise UsageError(f"{error}{maybe}") from error
    return source_of(found, config)


def source_of(found: Found, config: ReadConfig) -> Source:
    """The source that these files are."""
    name = recognised(found, config) if config.source in ("auto", "hub") else config.source
    if name in TABLES:
        found = _the_tables(found, name)
    elif name in ENDINGS and not KINDS[name].recognise(found, config):
        raise UsageError(f"{found.url}: nothing in it is what --source {name} says: {KINDS[name].words}")
    return KINDS[name].make(found, config)


def recognised(found: Found, config: ReadConfig) -> str:
    """The kind of source that an input is."""
    for name, kind in {**LAID_OUT, **TABLES}.items():
        if kind.recognise(found, config):
            _refuse_strays(found, name, config)
            return name
    holding = [name for name in NOUNS if KINDS[name].recognise(found, config)]
    archives = found.listed.ending(*ARCHIVES)
    if archives and (found.is_one_file or not holding):
        raise _packed(archives[0])
    if found.is_one_file:
        return _of_one_file(found, holding)
    if len(holding) > 1:
        raise _several(found, {name: found.listed.ending(*ENDINGS[name]) for name in holding})
    tables = [(name, file) for name in TABLES for file in found.listed.ending(*ENDINGS[name])]
    listing = [(name, file) for name, file in tables[:TABLES_TRIED] if _lists_audio(found, name, file, config)]
    if holding in (["parquet"], ["webdataset"]):
        if listing:
            table = found.relative(listing[0][1])
            held = counted(found.listed.ending(*ENDINGS[holding[0]]), NOUNS[holding[0]])
            raise UsageError(
                f"{found.url} holds {held} and {table}, which may list others: give that by its own name, name one "
                f"kind with a glob, or say --source {holding[0]}"
            )
        return holding[0]
    if listing or (tables and not holding):
        return _audio_or_table(found, tables)
    if holding:
        return "files"
    raise UsageError(
        f"{found.url}: no audio in it ({_told(found.listed)}), nor shards or tables of it: give the folder, glob or "
        f"file that holds it, and where it cannot be seen what it is, by --source {'|'.join(KINDS)}|hub"
    )


def _of_one_file(found: Found, holding: list[str]) -> str:
    """Audio, if nothing else."""
    if texts := found.listed.ending(*TEXTS):
        (ending,) = texts.endings()
        raise UsageError(
            f"{found.url}: {ending} is no audio. Give audio, or a table of paths as .csv, .tsv or .jsonl (called "
            "otherwise: --source csv or jsonlines; if it is audio after all: --source files)"
        )
    return holding[-1]


def _refuse_strays(found: Found, name: str, config: ReadConfig) -> None:
    """What lies beside a corpus that says itself where its audio is would be left out without a word."""
    if found.is_one_file or name in TABLES:
        return
    strays = {kind: found.listed.ending(*ENDINGS[kind]) for kind in ("parquet", "webdataset")}
    if name in HOLDING_AUDIO:
        folders = HOLDING_AUDIO[name](found)
        if name != "librispeech":  # of which all audio is a row
            strays["files"] = found.listed.ending(*ENDINGS["files"])
        strays["webdataset"] = strays["webdataset"].outside(folders)
        for table in TABLES:
            there = found.listed.ending(*ENDINGS[table]).outside(folders)
            tried = [file for _, file in zip(range(TABLES_TRIED), there, strict=False)]
            strays[table] = Files.of(file for file in tried if _lists_audio(found, table, file, config))
    if strays := {kind: files for kind, files in strays.items() if files}:
        kind, files = next(iter(strays.items()))
        held = " and ".join(counted(some, NOUNS.get(kind, "table")) for kind, some in strays.items())
        raise UsageError(
            f"{found.url} holds {KINDS[name].words} and beside it {held} ({found.relative(files[0])}): name one kind "
            f"with a glob or its folder, or by --source {name} or --source {kind}"
        )


def _lists_audio(found: Found, name: str, file: File, config: ReadConfig) -> bool:
    lists = {"jsonlines": jsonlines.lists_audio, "csv": delimited.lists_audio}[name]
    return lists(found, file.path, config)


def _several(found: Found, holding: dict[str, Files]) -> UsageError:
    kinds = " and ".join(counted(files, NOUNS[name]) for name, files in holding.items())
    choice = " or ".join(f"--source {name}" for name in holding)
    return UsageError(f"{found.url} holds {kinds}: name one kind with a glob, or by {choice}")


def _audio_or_table(found: Found, tables: list[tuple[str, File]]) -> str:
    """A folder with a table: it is what the table lists, if there is just one, and its audio lies in folders below."""
    names = [found.relative(file) for _, file in tables]
    audio = found.listed.ending(*ENDINGS["files"])
    kind, table = tables[0]
    if len({posixpath.basename(name) for name in names}) == 1 and posixpath.basename(names[0]) in BESIDE_AUDIO:
        return kind  # one of each folder, such as a split
    if len(tables) == 1:
        folder = posixpath.dirname(table.path)
        if not any(posixpath.dirname(file.path) == folder for file in audio):
            return kind
        held = f"{names[0]}, which may list them: give that"
    else:
        held = f"{len(names):,} tables ({_few(names)}): give one of them"
    beside, choice = (f"{counted(audio, 'audio file')} and ", ", or say --source files") if audio else ("", "")
    raise UsageError(f"{found.url} holds {beside}{held} by its own name{choice}")


def _the_tables(found: Found, name: str) -> Found:
    """The one table of a folder as if it had been given by its own name, and what audio lies beside it; of a glob, or
    where each folder has its own, all of them.
    """
    tables = found.listed.ending(*ENDINGS[name])
    if found.is_one_file or len(tables) == len(found.listed):
        return found
    audio = found.listed.ending(*ENDINGS["files"])
    if len(tables) != 1:
        return replace(found, listed=tables, beside=audio)
    return replace(found, listed=tables, root=posixpath.dirname(tables[0].path), is_one_file=True, beside=audio)


def _packed(file: File) -> UsageError:
    return UsageError(
        f"{file.path}: archives of this kind are not read, because what is in them lies in no order that could be read "
        "ahead: unpack it, or pack it anew as .tar"
    )


def _told(files: Files) -> str:
    if not files:
        return "it is empty"
    some = [posixpath.basename(file.path) for file, _ in zip(files, range(4), strict=False)]
    return f"{counted(files, 'file')}: {_few(some)}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def _others(listed: Files, audio: Files) -> str:
    """The files that are no audio, by what they end in: none is left out unsaid."""
    if len(listed) == len(audio):
        return ""
    others = {ending: number for ending, number in listed.endings().items() if ending not in BYTES_PER_SECOND}
    endings = [ending for ending in sorted(others, key=lambda ending: (-others[ending], ending)) if ending]
    number = len(listed) - len(audio)
    return f", {number:,} other{'s' * (number != 1)}" + (f" ({_few(endings)})" if endings else "")


def _folders(files: Iterable[File]) -> set[str]:
    return {posixpath.dirname(file.path) for file in files}


def counted(files: Files, noun: str) -> str:
    return f"{len(files):,} {noun}{'s' * (len(files) != 1)}"
