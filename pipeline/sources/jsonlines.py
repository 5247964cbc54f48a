"""JSON manifests as a source: an object per line, or an array of objects, each with a path to audio.

Generic ones and NeMo's. Knows nothing of what the fields mean; `table` does.
"""

import codecs
import io
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.sources.columns import Columns
from pipeline.sources.found import Found
from pipeline.sources.table import Format, Row, TableFiles
from pipeline.sources.textfile import BLOCK_BYTES, MAX_LINE_BYTES, numbered, text_file

ENDINGS = tuple(f"{ending}{packed}" for ending in (".jsonl", ".json", ".ndjson") for packed in ("", ".gz"))
ONE_OBJECT = "one object per line, or an array of objects; of an object that holds the array, give the array alone"


def lists_audio(found: Found, path: str, config: ReadConfig) -> bool:
    """Whether a manifest names a path, by its first object; what cannot be read may."""
    try:
        with text_file(found, path, config) as stream:
            _, record = next(records(stream, ""), (0, {}))
    except UsageError:  # whoever reads the whole of it says what is wrong
        return True
    return Columns.choose(record, config) is not None


def recognised(found: Found, config: ReadConfig) -> bool:
    """A manifest by its own name, or a glob of them: folders have JSON of many kinds."""
    return 0 < len(found.listed) == len(found.ending(*ENDINGS))


def records(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """Its objects with the lines on which they begin."""
    head = stream.peek(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(b"["):
        yield from _Array(stream, name).elements()
        return
    for number, line in numbered(stream, name):
        if line.strip():
            yield number, _object(line, f"{name} line {number}")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        # not JSON, a number of thousands of digits, a name twice, or brackets a thousand deep
        raise UsageError(f"{where}: not JSON ({error}); expected {ONE_OBJECT}") from error
    return _checked(value, "\\u" in text, where)


def _checked(value: Any, has_escapes: bool, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: not a JSON object; expected {ONE_OBJECT}")
    if has_escapes:  # only so can half a character get into text that was UTF-8
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{where}: half a character (a lone surrogate)") from error
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice in an object")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_without_doubles)


class _Array:
    """The elements of an array, one after the other, however long it is and whatever its lines are."""

    def __init__(self, stream: io.BufferedReader, name: str) -> None:
        self._stream, self._name = stream, name
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._line = "", 0, 1
        self._ended = False

    def elements(self) -> Iterator[Row]:
        self._skip("[")
        if self._next() == "]":
            self._skip("]")
        else:
            while True:
                number = self._line
                yield number, self._element()
                if self._skip(",]") == "]":
                    break
                self._next()
        if self._next():
            raise self._fault("something after the array")

    def _element(self) -> dict[str, Any]:
        where = f"{self._name} line {self._line}"
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:  # wrong, or not all of it is there yet
                if len(self._text) - self._at > MAX_LINE_BYTES or not self._more():
                    raise UsageError(f"{where}: not JSON ({error})") from error
                continue
            if end < len(self._text) or not self._more():  # else a number may go on
                has_escapes = "\\u" in self._text[self._at : end]
                self._pass(end)
                return _checked(value, has_escapes, where)

    def _next(self) -> str:
        """The next character that is not space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._pass(self._at + 1)
            if not self._more():
                return ""

    def _skip(self, wanted: str) -> str:
        sign = self._next()
        if not sign or sign not in wanted:
            raise self._fault(f"expected {' or '.join(wanted)}")
        self._pass(self._at + 1)
        return sign

    def _pass(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Twice as much as is left, so that a long element is not begun again too often."""
        if self._ended:
            return False
        data = self._stream.read(max(BLOCK_BYTES, len(self._text) - self._at))
        self._ended = not data
        try:
            text = self._decode(data, self._ended)
        except UnicodeDecodeError as error:
            raise self._fault("not UTF-8; save it as UTF-8") from error
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(data)

    def _fault(self, what: str) -> UsageError:
        return UsageError(f"{self._name} line {self._line}: not a JSON array ({what})")


JsonLines = partial(
    TableFiles, form=Format("JSON manifest", ENDINGS, lambda stream, name, config: records(stream, name))
)
