"""Voices that nobody has: variants for espeak-ng drawn at random, so that a model meets more than a hundred of them.

Knows nothing of accents or sentences. What the lines mean is espeak-ng's: formants in per cent of their frequency,
height and width, with hertz added to some; all else as it names it.
"""

import numpy as np

Range = tuple[float, float]

# Wider than what espeak-ng's own hundred variants have in the middle, as wide as their ends.
TRACT: Range = (0.78, 1.35)  # frequencies of all formants: the length of the vocal tract
OWN_TRACT: Range = (0.9, 1.1)  # and of each
PITCH_HZ: Range = (55.0, 260.0)
WHISPERED, BREATHY, KLATT, VOICED, CONSONANTS, TONED, ECHOED, SHIFTED, STRESSED = (
    *(0.06, 0.2, 0.2, 0.4, 0.5, 0.5, 0.3, 0.3, 0.5),  # shares of the voices with each
)


def timbre(rng: np.random.Generator) -> str:
    """A variant's file."""
    base = float(np.exp(rng.uniform(*np.log(PITCH_HZ))))
    lines = [
        "language variant",
        "name own",
        f"gender {'male' if base < 140 else 'female'}",
        f"pitch {base:.0f} {base * rng.uniform(1.1, 1.8):.0f}",
        f"flutter {rng.integers(0, 16)}",
        f"roughness {rng.integers(0, 6)}",
        f"intonation {rng.integers(1, 5)}",
        *_formants(rng),
    ]
    whispered = rng.random() < WHISPERED
    if whispered:
        lines += [f"voicing {rng.integers(0, 25)}", "breath 75 75 50 40 15 10", "breathw 150 150 200 200 400 400"]
    elif rng.random() < BREATHY:
        lines.append("breath " + _numbers(rng, (0, 25), 8))
    if rng.random() < KLATT:
        lines.append(f"klatt {rng.integers(1, 7)}")
    if not whispered and rng.random() < VOICED:
        lines.append(f"voicing {rng.integers(40, 151)}")
    if rng.random() < CONSONANTS:
        lines.append(f"consonants {rng.integers(50, 151)} {rng.integers(20, 201)}")
    if rng.random() < TONED:
        lines.append(_tone(rng))
    if rng.random() < ECHOED:
        lines.append(f"echo {rng.integers(5, 150)} {rng.integers(5, 50)}")
    if rng.random() < STRESSED:
        lines.append("stressAdd " + _numbers(rng, (-30, 150), 8))
        lines.append("stressAmp " + _numbers(rng, (14, 28), 8))
    return "\n".join(lines) + "\n"


def _formants(rng: np.random.Generator) -> list[str]:
    tract = rng.uniform(*TRACT)
    lines = []
    for number in range(9):
        least = 40 if number <= 3 else 0  # the upper ones are colour, and some voices lack them
        percents = 100 * tract * rng.uniform(*OWN_TRACT), rng.uniform(least, 125), rng.uniform(55, 175)
        shift = rng.uniform(-200, 60) if number in (1, 2, 3) and rng.random() < SHIFTED else 0
        lines.append(" ".join([f"formant {number}", *(f"{percent:.0f}" for percent in percents), f"{shift:.0f}"]))
    return lines


def _tone(rng: np.random.Generator) -> str:
    """An equaliser: at three frequencies how much, of 255."""
    hertz = np.sort(rng.uniform([100, 700, 1500], [700, 1500, 4500]))
    return "tone " + " ".join(f"{frequency:.0f} {rng.integers(70, 256)}" for frequency in hertz)


def _numbers(rng: np.random.Generator, between: tuple[int, int], num: int) -> str:
    return " ".join(str(number) for number in rng.integers(*between, num))
