"""The voices of the demo's corpora, and espeak-ng that speaks with them, in a process of its own.

Knows nothing of sentences, corpora or files.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import IO, Any

import numpy as np

from pipeline.demo.espeak_voice_process import SAMPLE_RATE
from pipeline.demo.timbres import timbre
from pipeline.errors import UsageError
from pipeline.records import FloatArray

__all__ = ["SAMPLE_RATE", "Synthesiser", "Voice", "own_voice", "voices"]

# Of 1.52's data; fixed, so that a seed draws the same voices whatever is installed. One variant is left out: what
# kaukovalta says is as far from the same words of six plain voices as from other words (by warped cepstra 0.99 times;
# the median variant 0.59 times). espeak-ng knows the accents by these names but for one.
ACCENTS = (
    *("en-us", "en-us-nyc", "en-029"),
    *("en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd"),
)
_OWN_NAMES = {"en-gb": "en"}  # its file of British English

# fmt: off
TRAINING_VARIANTS = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Gene2", "Henrique",
    "Hugo", "Jacky", "Lee", "Marco", "Michael", "Mike", "Mr serious", "Nguyen", "Reed", "RicishayMax",
    "RicishayMax2", "RicishayMax3", "Storm", "Tweaky", "adam", "anika", "anikaRobot", "announcer", "antonio",
    "aunty", "benjamin", "croak", "david", "edward2", "f1", "f2", "f4", "f5", "fast", "grandpa", "gustave", "ian",
    "iven", "iven2", "iven3", "iven4", "john", "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "linda",
    "m1", "m2", "m3", "m5", "m6", "m7", "marcelo", "max", "michel", "miguel", "mike2", "norbert", "paul", "pedro",
    "rob", "robert", "robosoft", "robosoft2", "robosoft3", "robosoft4", "robosoft5", "robosoft6", "robosoft7",
    "robosoft8", "sandro", "steph", "steph2", "steph3", "travis", "victor", "whisper", "zac",
)

# For tests alone, in every accent: women, men, and four that are odd. None is a near-copy of a training variant, as
# iven2 is of iven: by the mean and spread of cepstra, iven2 is at 0.2 of iven, and these at 2.6 or more of all those.
HELD_OUT_VARIANTS = (
    "belinda", "f3", "grandma", "shelby",
    "boris", "ed", "edward", "m4", "m8", "Mario", "pablo", "quincy",
    "Demonic", "UniRobot", "caleb", "whisperf",
)
# fmt: on


@dataclass(frozen=True)
class Voice:
    accent: str
    variant: str
    held_out: bool  # heard in tests only, never in training
    timbre: str = ""  # the variant's file, where it is none of espeak-ng's

    @property
    def name(self) -> str:
        return f"{self.accent}+{self.variant}"


@cache
def voices() -> tuple[Voice, ...]:
    """Every variant in every accent, the held-out ones last."""
    held_out = [(variant, False) for variant in TRAINING_VARIANTS] + [(variant, True) for variant in HELD_OUT_VARIANTS]
    return tuple(Voice(accent, variant, out) for variant, out in held_out for accent in ACCENTS)


def own_voice(rng: np.random.Generator) -> Voice:
    """For training: one that espeak-ng does not have, in any accent."""
    number, accent = int(rng.integers(10**9)), ACCENTS[rng.integers(len(ACCENTS))]
    return Voice(accent, f"own{number}", False, timbre(np.random.default_rng(number)))


class Synthesiser:
    """espeak-ng within a `with` block, for one thread. The same arguments give the same samples, whatever was said."""

    def __enter__(self) -> "Synthesiser":
        where = f"import sys; sys.path[:] = {sys.path!r}; from pipeline.demo.espeak_voice_process import serve; serve()"
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # __exit__ closes it
        self._process = subprocess.Popen(
            [sys.executable, "-c", where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,  # Ctrl-C is for us; it ends when nobody is left to ask it
        )
        try:
            self._answer("it was opened")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def speak(self, text: str, voice: Voice, rate: int, pitch: int) -> FloatArray:
        """At 22,050 Hz, the loudest voice below 0.8; `rate` in words per minute, `pitch` from 0 to 100 (50 is usual).

        Upper case is no matter: of it, espeak-ng would spell some words.
        """
        name = f"{_OWN_NAMES.get(voice.accent, voice.accent)}+{voice.variant}"
        request = {"text": _spoken(text), "voice": name, "timbre": voice.timbre, "rate": rate, "pitch": pitch}
        assert self._process.stdin is not None
        what = f"{voice.name} said {text[:100]!r}"
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(self._death(what)) from error
        samples = self._answer(what)
        return np.frombuffer(samples, "<i2").astype(np.float32) / np.float32(32768)

    def _answer(self, what: str) -> bytes:
        """Samples of 16 bits; `what` went on is for the message of a fault."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        header: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        if "missing" in header:
            raise UsageError("speech synthesis needs espeak-ng, which a package brings: pip install espeakng-loader")
        if "fault" in header:
            raise UsageError(header["fault"])
        if "crash" in header:
            raise RuntimeError(f"espeak-ng crashed ({header['crash']}) when {what}{self._last_words()}")
        samples = self._process.stdout.read(header["num_bytes"]) if header else b""
        if not header or len(samples) < header["num_bytes"]:
            raise RuntimeError(self._death(what))
        return samples

    def _death(self, what: str) -> str:
        return f"the process of espeak-ng ended (exit code {self._process.wait()}) when {what}{self._last_words()}"

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").splitlines()
        self._complaints.seek(0, 2)
        return f": {lines[-1]}" if lines else ""

    def _close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._complaints.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # it is at work
            self._process.kill()
            self._process.wait()


def _spoken(text: str) -> str:
    """In lower case but for the pronoun I; C ends a text at a NUL, and no encoding has half a surrogate pair."""
    plain = text.replace("\0", " ").encode("utf-8", "replace").decode()
    return re.sub(r"\bi\b", "I", plain.lower())
