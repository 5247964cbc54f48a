"""Text to phones by phonemizer and espeak-ng, which run in a process of their own: it may crash, ours may not.

Knows nothing of vocabularies or lexicons, and imports neither of the two.
"""

import contextlib
import difflib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

from pipeline.errors import UsageError
from pipeline.text.espeak_process import FAULT, INSTALL

AT_ONCE = 256  # texts per answer; what is not answered yet is asked again when espeak-ng crashes

log = logging.getLogger(__name__)


def available() -> str | None:
    """None where phones can be had; else a sentence that says what to install."""
    try:
        languages()
    except UsageError as error:
        return str(error)
    return None


def languages() -> list[str]:
    """The languages espeak-ng lists, by their codes; of a few it may have no dictionary."""
    _check_installed()
    return sorted(_voices())


@dataclass(frozen=True)
class Phonemizer:
    """Phones as phonemizer gives them without stress marks, and without flags where a word is spoken as a foreign one.

    Equal wherever it is: in threads, which take turns, in a forked process and after pickling.
    """

    language: str
    backend: str = "espeak"

    def __post_init__(self) -> None:
        _check_installed()
        if self.backend == "espeak" and self.language not in (voices := _voices()):
            raise UsageError(f"espeak-ng has no language {self.language!r}{_near(self.language, voices)}")
        with (here := _here()).lock:
            if self not in here.usable:
                _asked({"language": self.language, "backend": self.backend})
                here.usable.add(self)

    def __call__(self, texts: Sequence[str], word_delimiter: str = "", phone_delimiter: str = " ") -> list[str]:
        """One string per text, empty where nothing in it is spoken; a word delimiter follows every word.

        espeak-ng 1.52 crashes at some texts: at a Hindi word after hyphens, in Greenlandic at most numbers. Of such a
        text those words are phonemised, each alone, at which it does not; what is left out is logged.
        """
        request = {"language": self.language, "backend": self.backend}
        request |= {"word_delimiter": word_delimiter, "phone_delimiter": phone_delimiter}
        lines, phones, at_once = [_readable(text) for text in texts], list[str](), AT_ONCE
        with (here := _here()).lock:
            while len(phones) < len(lines):
                rest = lines[len(phones) :]
                try:
                    answers = here.answers({**request, "texts": rest, "at_once": at_once}, -(-len(rest) // at_once))
                except _Died as death:
                    phones += [line for answer in death.answers for line in answer]
                    if at_once == 1:  # it was this text
                        phones.append(self._of_words(lines[len(phones)], word_delimiter, phone_delimiter))
                    at_once = 1
                else:
                    phones += [line for answer in answers for line in answer]
        return phones

    def pronunciations(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """The phones of each word said alone; none for what is not spoken."""
        return [tuple(phones.split()) for phones in self(words)]

    def _of_words(self, text: str, word_delimiter: str, phone_delimiter: str) -> str:
        """Of a text at which espeak-ng crashes."""
        if len(words := text.split()) < 2:
            log.warning("espeak-ng crashes at %r, which is left out (%s)", text[:100], self.language)
            return ""
        between = " " if word_delimiter or phone_delimiter.isspace() else ""  # else it stands at the end of each
        return between.join(phones for phones in self(words, word_delimiter, phone_delimiter) if phones)


class _Died(Exception):
    """The process of espeak-ng came to its end; `answers` came before, and `last_words` tell why, if anything does."""

    def __init__(self, answers: list[Any], last_words: str) -> None:
        super().__init__(answers, last_words)
        self.answers = answers
        self.last_words = last_words


class _Speaker:
    """The process of espeak-ng, one thread at a time; started when it is first asked, and again when it has died."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.voices: dict[str, str] = {}
        self.usable: set[Phonemizer] = set()
        self._process: subprocess.Popen[str] | None = None
        self._complaints: IO[str] | None = None

    def answers(self, request: dict[str, Any], num_answers: int) -> list[Any]:
        """To one request. A fault is told in place of the next answer."""
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        answers, fault = list[Any](), ""
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            while len(answers) < num_answers:
                if not (line := process.stdout.readline()).endswith("\n"):
                    raise EOFError
                answer = json.loads(line)
                if isinstance(answer, dict) and FAULT in answer:
                    fault = answer[FAULT]
                    break
                answers.append(answer)
        except (EOFError, BrokenPipeError) as error:
            raise _Died(answers, self._ended()) from error
        except BaseException:  # such as an interrupt: nobody will read the rest of the answers
            self._ended()
            raise
        if fault:
            raise UsageError(fault)
        return answers

    def _started(self) -> subprocess.Popen[str]:
        where = f"import sys; sys.path[:] = {sys.path!r}; from pipeline.text.espeak_process import serve; serve()"
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # see _ended
        self._process = subprocess.Popen(
            [sys.executable, "-c", where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for us; it ends when nobody is left to ask it
        )
        weakref.finalize(self, _end, self._process, self._complaints)
        return self._process

    def _ended(self) -> str:
        """Its last words."""
        assert self._process is not None and self._complaints is not None
        _end(self._process)
        self._complaints.seek(0)
        with self._complaints:
            lines = self._complaints.read().splitlines()
        self._process = self._complaints = None
        return lines[-1] if lines else ""


def _end(process: "subprocess.Popen[str]", *files: IO[str]) -> None:
    """It ends when its input does, unless a fork of this process has that open too, or it is at work.

    In the child of a fork this does nothing to what is its parent's.
    """
    for file in (process.stdin, process.stdout, *files):
        with contextlib.suppress(BrokenPipeError):
            file.close()  # type: ignore[union-attr]
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


_SPEAKERS: dict[int, _Speaker] = {}  # by process: the child of a fork must not read what its parent has asked


def _here() -> _Speaker:
    return _SPEAKERS.setdefault(os.getpid(), _Speaker())


def _check_installed() -> None:
    if importlib.util.find_spec("phonemizer") is None:
        raise UsageError(f"phonemising needs phonemizer and espeak-ng: {INSTALL}")


def _voices() -> dict[str, str]:
    """Code of each language and its name in English."""
    with (here := _here()).lock:
        here.voices = here.voices or _asked({})
        return here.voices


def _asked(request: dict[str, Any]) -> Any:
    """The one answer to this."""
    with (here := _here()).lock:
        try:
            return here.answers(request, 1)[0]
        except _Died as death:
            raise UsageError(f"espeak-ng ended when it was opened: {death.last_words or 'nothing said why'}") from death


def _near(language: str, voices: dict[str, str]) -> str:
    """The languages that somebody who wrote this may have meant, by code or by name."""
    wanted = language.lower().replace("_", "-")
    if (same := next((code for code in voices if code.lower() == wanted), None)) is not None:
        return f"; did you mean {same}?"
    alike = (code for code, name in voices.items() if _stem(code) == _stem(wanted) or name.lower().startswith(wanted))
    by_word = {word: code for code, name in voices.items() for word in (name.lower(), code.lower())}
    close = (by_word[word] for word in difflib.get_close_matches(wanted, by_word, n=3, cutoff=0.6))
    codes = list(dict.fromkeys([*sorted(alike, key=lambda code: (len(code), code)), *close]))[:4]
    named = ", ".join(f"{code} ({voices[code]})" for code in codes)
    return f"; near it: {named}" if named else f"; it has {len(voices)}, such as en-us, de, fr-fr, es, cmn"


def _stem(code: str) -> str:
    """A language without its country."""
    return code.split("-")[0]


def _readable(text: str) -> str:
    """C ends a text at a NUL, and no encoding has half a surrogate pair; neither is spoken."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()
