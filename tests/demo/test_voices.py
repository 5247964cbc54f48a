"""Held-out voices stay so, a voice says the same text the same way every time, and espeak-ng's faults are told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo.voices import (
    ACCENTS,
    HELD_OUT_VARIANTS,
    SAMPLE_RATE,
    TRAINING_VARIANTS,
    Synthesiser,
    Voice,
    own_voice,
    voices,
)
from pipeline.errors import UsageError
from pipeline.records import FloatArray

PLAIN = Voice("en-us", "m3", held_out=False)
TEXT = "THE CARPENTER'S DAUGHTER SOLD TWO ROWS OF PEARS"


@pytest.fixture(scope="module")
def synthesiser() -> Iterator[Synthesiser]:
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    with Synthesiser() as opened:
        yield opened


# ---- which voices there are


def test_no_variant_is_both_heard_in_training_and_held_out() -> None:
    training = {voice.variant for voice in voices() if not voice.held_out}
    held_out = {voice.variant for voice in voices() if voice.held_out}
    assert training == set(TRAINING_VARIANTS) and held_out == set(HELD_OUT_VARIANTS) and not training & held_out
    assert len({voice.name for voice in voices()}) == len(voices()) == len(training | held_out) * len(ACCENTS)
    assert 0.12 < len(held_out) / len(training | held_out) < 0.18


def test_the_variants_are_those_of_the_data_but_for_the_one_left_out() -> None:
    """A misspelt one would be spoken by the accent's plain voice: espeak-ng says nothing of it."""
    loader = pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    there = set(os.listdir(Path(loader.get_data_path()) / "voices" / "!v"))
    assert there - {voice.variant for voice in voices()} == {"kaukovalta"}
    assert {voice.variant for voice in voices()} <= there


# ---- what they say


def test_every_variant_and_accent_speaks_and_no_two_alike(synthesiser: Synthesiser) -> None:
    """The same samples from two would be a voice that was not found."""
    some = [voice for voice in voices() if voice.accent == "en-us" or voice.variant == "f3"]
    said = {voice: synthesiser.speak("pears and apples", voice, 180, 50) for voice in some}
    assert len({sound.tobytes() for sound in said.values()}) == len(some) == 103 + 7
    for voice, sound in said.items():
        assert 0.01 < np.abs(sound).max() < 0.9, voice
        assert 0.6 < len(sound) / SAMPLE_RATE < 3, voice


def test_what_was_said_before_changes_nothing(synthesiser: Synthesiser) -> None:
    """In one process of espeak-ng, 89 of 104 voices say another thing after other texts."""
    some = [*[voice for voice in voices() if voice.accent == "en-us"][::5], Voice("en-gb", "whisper", False)]
    first = [synthesiser.speak(TEXT, voice, 170, 50) for voice in some]
    with Synthesiser() as other:
        again = [other.speak(TEXT, voice, 170, 50) for voice in reversed(some)]
    assert [sound.tobytes() for sound in first] == [sound.tobytes() for sound in reversed(again)]


def test_rate_and_pitch_do_what_they_are_called(synthesiser: Synthesiser) -> None:
    def hertz(sound: FloatArray) -> float:
        """Median over frames of 50 ms, by the greatest peak of autocorrelation between 50 and 250 Hz."""
        found = []
        for frame in sound[: len(sound) // 1102 * 1102].reshape(-1, 1102):
            if frame.std() > 0.5 * sound.std():
                spectrum = np.abs(np.fft.rfft(frame * np.hanning(1102), 4096)) ** 2
                found.append(SAMPLE_RATE / (88 + np.argmax(np.fft.irfft(np.sqrt(spectrum))[88:441])))
        return float(np.median(found))

    slow, fast = (synthesiser.speak(TEXT, PLAIN, rate, 50) for rate in (120, 230))
    assert 1.5 < len(slow) / len(fast) < 2.3
    low, high = (hertz(synthesiser.speak(TEXT, PLAIN, 120, pitch)) for pitch in (20, 80))
    assert 1.2 * low < high


def test_upper_case_is_not_spelled(synthesiser: Synthesiser) -> None:
    for upper, lower in (("US", "us"), ("I", "I"), ("I'M AT IT", "I'm at it"), (TEXT, TEXT.lower())):
        said = [synthesiser.speak(text, PLAIN, 170, 50).tobytes() for text in (upper, lower)]
        assert said[0] == said[1] != b""


@given(st.text(max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_text_is_said_and_the_next_one_too(synthesiser: Synthesiser, text: str) -> None:
    for odd in (text, text + "\0\n{}[[<\ud800 " + text):
        synthesiser.speak(odd, PLAIN, 170, 50)
    assert len(synthesiser.speak("yes", PLAIN, 170, 50)) > SAMPLE_RATE / 10


def test_no_text_is_silence_and_nothing_after_a_nul_is_lost(synthesiser: Synthesiser) -> None:
    assert np.abs(synthesiser.speak("", PLAIN, 170, 50)).max(initial=0) == 0
    assert (
        synthesiser.speak("one\0two", PLAIN, 170, 50).tobytes()
        == synthesiser.speak("one two", PLAIN, 170, 50).tobytes()
    )
    assert len(synthesiser.speak("word " * 2000, PLAIN, 170, 50)) > 300 * SAMPLE_RATE  # more than a pipe holds


def test_voices_that_nobody_has_are_as_many_as_are_drawn_and_heard_alike_again(synthesiser: Synthesiser) -> None:
    drawn = [own_voice(np.random.default_rng(seed)) for seed in range(40)]
    assert drawn == [own_voice(np.random.default_rng(seed)) for seed in range(40)]
    said = [synthesiser.speak("pears and apples", voice, 180, 50) for voice in drawn]
    assert len({sound.tobytes() for sound in said}) == len(drawn)
    assert all(np.abs(sound).max() > 0.003 and 0.6 < len(sound) / SAMPLE_RATE < 3 for sound in said)
    assert not any(voice.held_out for voice in drawn)
    with Synthesiser() as other:
        assert other.speak("pears and apples", drawn[3], 180, 50).tobytes() == said[3].tobytes()


def test_a_voice_of_ours_leaves_the_others_as_they_are(synthesiser: Synthesiser) -> None:
    before = synthesiser.speak(TEXT, PLAIN, 170, 50)
    deep = synthesiser.speak(TEXT, Voice("en-us", "m3", False, timbre="language variant\npitch 40 50\n"), 170, 50)
    assert deep.tobytes() != before.tobytes()
    assert synthesiser.speak(TEXT, PLAIN, 170, 50).tobytes() == before.tobytes()


# ---- its faults


@pytest.mark.parametrize("voice", [Voice("en-us", "nobody", False), Voice("xx", "m3", False)])
def test_a_voice_that_is_not_there_is_told_and_the_next_one_speaks(synthesiser: Synthesiser, voice: Voice) -> None:
    """espeak-ng would go on with the voice it has."""
    with pytest.raises(RuntimeError, match="espeak-ng has no"):
        synthesiser.speak(TEXT, voice, 170, 50)
    assert len(synthesiser.speak(TEXT, PLAIN, 170, 50)) > SAMPLE_RATE


def test_the_death_of_the_process_is_told(synthesiser: Synthesiser) -> None:
    with Synthesiser() as opened:
        opened.speak(TEXT, PLAIN, 170, 50)
        opened._process.kill()
        opened._process.wait()
        with pytest.raises(
            RuntimeError, match=r"process of espeak-ng ended \(exit code -9\) when en-us\+m3 said 'GOOD BYE'"
        ):
            opened.speak("GOOD BYE", PLAIN, 170, 50)


def preceded(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The process of espeak-ng, in which this happens first; `p` is its module."""
    started = subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        preface = (
            f"import sys; sys.path[:] = {sys.path!r}\nimport os, signal, pipeline.demo.espeak_voice_process as p\n"
        )
        return started([command[0], "-c", f"{preface}{code}\np.serve()"], **options)

    monkeypatch.setattr(subprocess, "Popen", popen)


def test_a_crash_at_a_text_is_told_and_takes_nothing_with_it(
    synthesiser: Synthesiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    preceded(
        monkeypatch,
        "said = p._Speaker.said\n"
        "def new(self, request):\n"
        "    if 'crash' in request['text']: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return said(self, request)\n"
        "p._Speaker.said = new",
    )
    with Synthesiser() as opened:
        with pytest.raises(RuntimeError, match=r"espeak-ng crashed \(SIGSEGV\) when en-us\+m3 said 'CRASH'"):
            opened.speak("CRASH", PLAIN, 170, 50)
        assert opened.speak(TEXT, PLAIN, 170, 50).tobytes() == synthesiser.speak(TEXT, PLAIN, 170, 50).tobytes()


@pytest.mark.parametrize(
    ("found", "told"),
    [("os.devnull, '/nowhere'", "/dev/null"), ("p.wheel()[0], '/nowhere'", "cannot read its data at /nowhere")],
)
def test_a_library_or_data_that_cannot_be_read_are_told(
    synthesiser: Synthesiser, monkeypatch: pytest.MonkeyPatch, found: str, told: str
) -> None:
    preceded(monkeypatch, f"there = {found}; p.wheel = lambda: there")
    with pytest.raises(UsageError, match=told), Synthesiser():
        pass


def test_nothing_stays_behind(synthesiser: Synthesiser) -> None:
    with Synthesiser() as opened:
        opened.speak(TEXT, PLAIN, 170, 50)
    assert opened._process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(opened._process.pid, signal.SIGCONT)
