"""Reading ARPA, plain or gzipped, in pieces: the words at once, the n-grams as they are asked for.

Every fault is named with its line. Knows nothing of any binary.
"""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.lm import arpa_lines
from pipeline.lm.arpa_lines import Stop, Vocabulary, parse
from pipeline.lm.kenlm_header import MAX_ORDER
from pipeline.lm.ngrams import Order, Piece
from pipeline.lm.recognise import COMMENT, DATA, GZIP
from pipeline.lm.vocabulary import SHOUTED_UNKNOWN, UNKNOWN

BLOCK = 1 << 24  # bytes read at once, and the longest line
ROWS = 1 << 18  # n-grams in a piece
LOG10_OF_MISSING_UNKNOWN = -100.0  # KenLM's default
COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")
SPACES = re.compile(rb"[ \t\r\n]+")  # other white space may be part of a word
END = b"\\end\\"
CUT_SHORT = f"the file ends here, before its {END.decode()}; it was cut short, copy it again"


def read_arpa(path: Path, name: str | None = None) -> tuple[list[str], list[Order]]:
    """The words by id, <unk> first, and the n-grams of each length; `name` is what the user calls the file."""
    arpa = _Arpa(Path(path), name or str(path))
    words, unigrams = arpa.read_words()
    rest = [Order(order, num, partial(arpa.ngrams, order)) for order, num in enumerate(arpa.counts[1:], 2)]
    return words, [Order(1, len(words), lambda: iter([unigrams])), *rest]


@dataclass
class _Arpa:
    path: Path
    name: str
    counts: list[int] = field(default_factory=list)
    starts: dict[int, tuple[int, int]] = field(default_factory=dict)  # order -> bytes and lines before its n-grams
    vocabulary: Vocabulary | None = None

    def read_words(self) -> tuple[list[str], Piece]:
        """The header and the 1-grams."""
        with _Source(self) as source:
            self._read_counts(source)
            words: dict[bytes, int] = {UNKNOWN.encode(): 0}
            weights = [(LOG10_OF_MISSING_UNKNOWN, 0.0)]
            seen_unknown = False
            for done in range(self.counts[0]):
                text = source.text_line()
                if text.startswith(b"\\"):
                    raise source.fault(f"{done:,} 1-grams where the header announces {self.counts[0]:,}")
                word, *weight = self._unigram(source, text)
                if word in (UNKNOWN.encode(), SHOUTED_UNKNOWN.encode()):
                    if seen_unknown:
                        raise source.fault(f"{_shown(word)} is listed a second time")
                    weights[0], seen_unknown = (weight[0], weight[1]), True
                elif words.setdefault(word, len(words)) != len(weights):
                    raise source.fault(f"{_shown(word)} is listed a second time")
                else:
                    weights.append((weight[0], weight[1]))
            self._end_section(source, 1, source.text_line())
            for marker in (b"<s>", b"</s>"):
                if marker not in words:
                    raise source.fault(f"no {marker.decode()} among the 1-grams; build the model with it")
        log10, backoff = np.array(weights, np.float32).T.copy()
        piece = Piece(np.arange(len(words), dtype=np.uint32)[:, None], log10, backoff)
        self.vocabulary = Vocabulary.of([*words, SHOUTED_UNKNOWN.encode()], [*range(len(words)), 0])
        return [word.decode("utf-8", "surrogateescape") for word in words], piece

    def _read_counts(self, source: "_Source") -> None:
        text = source.text_line(comments=True)
        if text != DATA:
            raise source.fault(f"{DATA.decode()} should stand here, not {_shown(text)}")
        text = source.text_line()
        while text:
            match = COUNT.fullmatch(text)
            if match is None or int(match[1]) != len(self.counts) + 1:
                wanted = f"'ngram {len(self.counts) + 1}=NUMBER'"
                if self.counts and text == b"\\1-grams:":
                    wanted = "an empty line"
                raise source.fault(f"{wanted} should stand here, not {_shown(text)}")
            self.counts.append(int(match[2]))
            text = source.line()
        if len(self.counts) > MAX_ORDER:
            raise source.fault(f"the model has order {len(self.counts)}; orders up to {MAX_ORDER} are read")
        text = source.text_line()
        if text != b"\\1-grams:":
            raise source.fault(f"\\1-grams: should stand here, not {_shown(text)}")

    def _unigram(self, source: "_Source", text: bytes) -> tuple[bytes, float, float]:
        fields = SPACES.split(text)
        if not 2 <= len(fields) <= 3:
            raise source.fault(f"a probability, one word and perhaps a backoff should stand here, not {_shown(text)}")
        log10 = _number(fields[0])
        backoff = _number(fields[2]) if len(fields) == 3 else 0.0
        if log10 is None:
            raise source.fault(f"{_shown(fields[0])} is not a log probability")
        if log10 > 0:
            raise source.fault(f"the log probability {_shown(fields[0])} is above zero")
        if backoff is None or math.isinf(backoff):
            raise source.fault(f"{_shown(fields[2])} is not a backoff")
        if backoff != 0 and len(self.counts) == 1:
            raise source.fault(f"the backoff {_shown(fields[2])} in the highest order")
        return fields[1], log10, backoff

    def _end_section(self, source: "_Source", order: int, text: bytes) -> None:
        if not text.startswith(b"\\"):
            raise source.fault(f"one {order}-gram more than the {self.counts[order - 1]:,} that the header announces")
        expected = END if order == len(self.counts) else b"\\%d-grams:" % (order + 1)
        if text != expected:
            raise source.fault(f"{expected.decode()} should stand here, not {_shown(text)}")
        self.starts[order + 1] = source.at, source.num_lines

    def ngrams(self, order: int) -> Iterator[Piece]:
        """In pieces; reads through what stands before them if nothing has yet."""
        for before in range(max(start for start in self.starts if start <= order), order):
            for _ in self.ngrams(before):
                pass
        num, done = self.counts[order - 1], 0
        with _Source(self, *self.starts[order]) as source:
            while True:
                piece, stop = self._parse(source, order, num - done + 1)
                done += stop.rows
                if done > num:
                    raise source.fault(f"one {order}-gram more than the {num:,} that the header announces")
                if stop.rows:
                    yield piece
                if stop.why == arpa_lines.SECTION:
                    break
            text = source.text_line()
            if done < num:
                raise source.fault(f"{done:,} {order}-grams where the header announces {num:,}")
            self._end_section(source, order, text)

    def _parse(self, source: "_Source", order: int, most: int) -> tuple[Piece, Stop]:
        """As many n-grams as are in a block, fit into a piece and are wanted."""
        assert self.vocabulary is not None
        block = source.block()
        text = np.frombuffer(block, np.uint8)
        rows = min(most, ROWS, len(block) // (2 * order + 2) + 1)
        words, weights = np.empty((rows, order), np.uint32), np.empty((2, rows), np.float32)
        longest = order == len(self.counts)
        stop = Stop(*parse(text, 0, len(block), longest, self.vocabulary, words, weights[0], weights[1]))
        source.skip(stop.at, stop.lines)
        if stop.why not in (arpa_lines.MORE, arpa_lines.SECTION):
            source.num_lines += 1
            raise source.fault(_explained(stop, order, block))
        return Piece(words[: stop.rows], weights[0, : stop.rows], weights[1, : stop.rows]), stop


class _Source:
    """An open ARPA file, by lines or by blocks of lines, that knows where it is."""

    def __init__(self, arpa: _Arpa, at: int = 0, num_lines: int = 0) -> None:
        self.name, self.at, self.num_lines = arpa.name, at, num_lines  # bytes and lines before what is read next
        self._rest, self._done = b"", 0  # read from the file; how much of it is done with
        try:
            with open(arpa.path, "rb") as file:
                zipped = file.read(2) == GZIP
            self._file: IO[bytes] | Any = (gzip.open if zipped else open)(arpa.path, "rb")
        except OSError as error:
            raise UsageError(f"ARPA {arpa.name}: {error.strerror}") from error
        if at:
            self._guarded(self._file.seek, at)

    def __enter__(self) -> "_Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fault(self, what: str) -> UsageError:
        """Of the line that was read last."""
        return UsageError(f"ARPA {self.name}, line {self.num_lines:,}: {what}")

    def line(self) -> bytes:
        """The next line, without white space around it."""
        end = self._rest.find(b"\n", self._done) + 1
        if not end:
            self._fill()
            end = self._rest.find(b"\n") + 1
        text = self._rest[self._done : end]
        self.skip(len(text), 1)
        return text.strip(b" \t\r\n")

    def text_line(self, comments: bool = False) -> bytes:
        """The next line that is not empty, nor a comment where they may be."""
        while True:
            text = self.line()
            if text and not (comments and text.startswith(COMMENT)):
                return text

    def block(self) -> bytes:
        """Whole lines that were not read yet; `skip` says how many are done with."""
        if self._rest.find(b"\n", self._done) < 0:
            self._fill()
        return self._rest[self._done : self._rest.rfind(b"\n") + 1]

    def skip(self, num_bytes: int, num_lines: int) -> None:
        self._done += num_bytes
        self.at, self.num_lines = self.at + num_bytes, self.num_lines + num_lines

    def _fill(self) -> None:
        self._rest, self._done = self._rest[self._done :], 0
        more = self._guarded(self._file.read, BLOCK)
        if not more and not self._rest:
            raise self.fault(CUT_SHORT)
        self._rest += more or b"\n"  # the last line may have no end
        if b"\n" not in self._rest:
            self.num_lines += 1
            raise self.fault(f"a line of more than {BLOCK:,} bytes; this is no ARPA file")

    def _guarded(self, read: Any, amount: int) -> Any:
        try:
            return read(amount)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.fault(f"after it the gzip stream is damaged or cut short ({error}); copy it again") from error


def _number(text: bytes) -> float | None:
    value = arpa_lines.number(np.frombuffer(text, np.uint8), 0, len(text))
    return None if math.isnan(value) else float(value)


def _explained(stop: Stop, order: int, block: bytes) -> str:
    part = _shown(block[stop.start : stop.end])
    line = _shown(block[stop.at : block.index(b"\n", stop.at)].strip())
    return {
        arpa_lines.BAD_NUMBER: f"{part} is not a log probability",
        arpa_lines.POSITIVE: f"the log probability {part} is above zero",
        arpa_lines.WRONG_LENGTH: f"a probability, {order} words and perhaps a backoff should stand here, not {line}",
        arpa_lines.UNKNOWN_WORD: f"{part} is not among the 1-grams",
        arpa_lines.BAD_BACKOFF: f"{part} is not a backoff",
        arpa_lines.BACKOFF_OF_LONGEST: f"the backoff {part} in the highest order",
    }[stop.why]


def _shown(text: bytes) -> str:
    return repr(text[:80].decode("utf-8", "replace"))
