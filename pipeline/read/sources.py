"""What an input is. A new kind of source is a file beside this one and a branch in `open_source`.

Lists; reads no audio. What a source yields is cut into units and frozen by `pipeline.manifest`.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.read.entries import BYTES_PER_SECOND, Entry, Piece, Source, is_audio, url_of
from pipeline.read.jsonlines import JsonLines
from pipeline.read.parquet import ParquetFiles


def open_source(url: str, config: ReadConfig, leave_out: str | None = None) -> Source:
    """Recognise an input, or say what was looked for. What lies below the path `leave_out` is no part of it."""
    files, path = store.locate(url)
    try:
        if any(sign in path for sign in "*?[") and not files.exists(path):
            found = _outside(leave_out, files.glob(path, detail=True))
            if not found:
                raise UsageError(f"{url}: nothing matches")
            root = os.path.commonpath([posixpath.dirname(info["name"]) for info in found])
            return _of_files(url, files, root, found, config)
        info = files.info(path)
        if info["type"] == "directory":
            found = _outside(leave_out, files.find(path, detail=True))
            return _of_files(url, files, path, found, config)
    except FileNotFoundError as error:
        raise UsageError(f"{url}: no such file, folder or bucket") from error
    except PermissionError as error:
        raise UsageError(f"{url}: permission denied") from error
    if path.endswith((".jsonl", ".json", ".ndjson")):
        return JsonLines(files, path, config)
    return _of_files(url, files, posixpath.dirname(path), [info], config)


def _outside(folder: str | None, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [info for path, info in found.items() if folder is None or not path.startswith(f"{folder}/")]


def _is_file(files: Any, info: dict[str, Any]) -> bool:
    """Files and links to them; broken links too, so that they become failed rows. Linked folders are not followed."""
    return bool(info["type"] == "file" or (info.get("islink") and not files.isdir(info["name"])))


def _is_utf8(name: str) -> bool:
    """Whether a file name can be written to the manifest; names in another encoding carry lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _of_files(url: str, files: Any, root: str, infos: Iterable[dict[str, Any]], config: ReadConfig) -> Source:
    listed = sorted((info["name"], info["size"]) for info in infos if _is_file(files, info))
    visible = [(name, size) for name, size in listed if not posixpath.basename(name).startswith((".", "_"))]
    if unnamed := next((name for name, _ in visible if not _is_utf8(name)), None):
        raise UsageError(f"{unnamed.encode('utf-8', 'replace').decode()}: its name is not UTF-8; rename it")
    audio = [(name, size) for name, size in visible if is_audio(name)]
    tables = [name for name, _ in visible if name.endswith(".parquet")]
    if audio and tables:
        raise UsageError(
            f"{url} holds {len(audio)} audio files and {len(tables)} Parquet files: name one kind with a glob"
        )
    if audio:
        return AudioFiles(files, root, audio)
    if tables:
        return ParquetFiles(files, root, tables, config)
    raise UsageError(
        f"{url}: no audio in it (looked for Parquet files and files ending in {' '.join(sorted(BYTES_PER_SECOND))}; "
        "a JSON-lines manifest is given by its own name)"
    )


class AudioFiles:
    """Loose audio files; the id of a recording is its path below the root."""

    schema = pa.schema([])

    def __init__(self, files: Any, root: str, audio: list[tuple[str, int]]) -> None:
        self.description = f"{len(audio)} audio files"
        self._files, self._root, self._audio = files, root, audio

    def pieces(self) -> Iterator[Piece]:
        for name, size in self._audio:
            yield Piece([Entry(posixpath.relpath(name, self._root), url_of(self._files, name), size=size)])
