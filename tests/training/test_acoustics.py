"""Sound as it is heard, measured by other means: least squares, Welch's spectra, Schroeder's integral."""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import signal, stats

from pipeline.errors import UsageError
from pipeline.records import SAMPLE_RATE, FloatArray
from pipeline.training.acoustics import Conditions, Noise, Scene, draw, heard

NOISES: Sequence[Noise] = ("white", "pink", "brown", "hum", "babble", "clatter")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(hertz: float, seconds: float = 4.0) -> FloatArray:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def syllables(seconds: int, pause: float = 0.5, seed: int = 0) -> tuple[FloatArray, Any]:
    """Noise like a voice in pieces of 0.2 s, of equal power, `pause` of them silent; and where it speaks."""
    speaks = np.repeat(rng(seed).permutation(seconds * 5) >= pause * seconds * 5, SAMPLE_RATE // 5)
    voice = signal.lfilter([1], [1, -0.7], rng(seed + 1).standard_normal(len(speaks)))
    return (0.05 * voice * speaks).astype(np.float32), speaks


TALKERS = [tone(300 + 200 * number, 3.0) for number in range(9)]


def apart(sound: FloatArray, scene: Scene, seed: int = 0) -> tuple[Any, Any]:
    """What is heard as the speech in it and the rest, by least squares against the scene without noise."""
    speech = heard(sound, replace(scene, noise="none", snr_db=None), rng(seed)).astype(np.float64)
    both = heard(sound, scene, rng(seed), TALKERS).astype(np.float64)
    speech *= (both @ speech) / (speech @ speech)
    return speech, both - speech


def share_between(sound: Any, low: float, high: float) -> float:
    hertz, power = signal.welch(sound, SAMPLE_RATE, nperseg=4096)
    return float(power[(hertz >= low) & (hertz <= high)].sum() / power.sum())


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("snr_db", [5.0, 20.0, 35.0])
def test_the_noise_is_as_loud_as_was_asked(noise: Noise, snr_db: float) -> None:
    """Risk: the model learns, and the demo's slices report, another ratio than the one written down."""
    sound, speaks = syllables(8)
    speech, rest = apart(sound, Scene(snr_db, noise))
    assert 10 * np.log10(np.mean(speech[speaks] ** 2) / np.mean(rest**2)) == pytest.approx(snr_db, abs=0.3)


@pytest.mark.parametrize("pause", [0.0, 0.3, 0.9])
def test_pauses_do_not_count_as_speech(pause: float) -> None:
    """Risk: a sentence between long silences gets less noise for the same ratio: 10 dB less where a tenth is speech."""
    sound, speaks = syllables(20, pause)
    speech, rest = apart(sound, Scene(10.0, "white"))
    assert 10 * np.log10(np.mean(speech[speaks] ** 2) / np.mean(rest**2)) == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize("noise", ["white", "brown", "hum"])
def test_the_ratio_is_that_of_the_telephone_not_of_the_room(noise: Noise) -> None:
    """Risk: the line takes most of a low noise away, and "5 dB" is easy."""
    sound, speaks = syllables(8)
    speech, rest = apart(sound, Scene(5.0, noise, telephone=True))
    assert 10 * np.log10(np.mean(speech[speaks] ** 2) / np.mean(rest**2)) == pytest.approx(5.0, abs=0.4)
    assert share_between(rest, 200, 3500) > 0.999


@pytest.mark.parametrize(("noise", "per_decade"), [("white", 0), ("pink", -10), ("brown", -20)])
def test_colours_fall_as_their_names_say(noise: Noise, per_decade: float) -> None:
    """Risk: power and amplitude mixed up: pink that is brown."""
    sound = heard(tone(1000), Scene(-70.0, noise), rng())
    hertz, power = signal.welch(sound, SAMPLE_RATE, nperseg=4096)
    inside = (hertz > 60) & (hertz < 7000) & (np.abs(hertz - 1000) > 50)
    fit = stats.linregress(np.log10(hertz[inside]), 10 * np.log10(power[inside]))
    assert fit.slope == pytest.approx(per_decade, abs=1.0)


def test_noise_goes_on_where_a_recording_is_long() -> None:
    """Risk: a click each time the noise kept per process begins again, or the same noise under all long recordings."""
    first, second = (heard(tone(1000, 80.0), Scene(-70.0, "brown"), rng(seed)).astype(np.float64) for seed in (0, 1))
    assert np.abs(np.diff(first)).max() < 8 * np.diff(first).std()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_hum_is_of_the_mains_alone() -> None:
    """Risk: a click at every turn of the repeated period, or one mains frequency for all."""
    found = set()
    for seed in range(8):
        power = np.abs(np.fft.rfft(heard(tone(1000), Scene(-80.0, "hum"), rng(seed)))) ** 2  # bins of 0.25 Hz
        shares = {mains: power[:: mains * 4].sum() / power.sum() for mains in (50, 60)}
        mains = max(shares, key=lambda key: shares[key])
        assert shares[mains] > 0.9999
        found.add(mains)
    assert found == {50, 60}


def test_clatter_is_short_and_rare() -> None:
    """Risk: bursts so dense that they are a hiss, or all at one place."""
    noise = heard(tone(1000, 20.0), Scene(-70.0, "clatter"), rng())
    assert stats.kurtosis(noise) > 10  # 0 of a hiss
    loud = (noise.reshape(-1, SAMPLE_RATE // 50) ** 2).mean(axis=1) > np.mean(noise**2)
    assert 0.005 < loud.mean() < 0.25
    assert loud[:500].any() and loud[500:].any()


def test_babble_is_of_three_to_six_others_equally_loud() -> None:
    """Risk: one talker is heard as noise, which is another voice to transcribe, or a loud recording drowns the rest."""
    counts, shouts = set(), np.where(np.arange(3 * SAMPLE_RATE) % SAMPLE_RATE < 320, 4, 1)  # a peak is no loudness
    for seed in range(12):
        others = [(other * 0.9**number * shouts ** (number % 2)) for number, other in enumerate(TALKERS)]
        noise = heard(tone(5000), Scene(-60.0, "babble"), rng(seed), others)
        hertz, power = signal.welch(noise, SAMPLE_RATE, nperseg=4096)
        peaks, _ = signal.find_peaks(power, height=power.max() / 3)
        counts.add(len(peaks))
        assert all(np.abs(hertz[peak] - np.arange(300, 2000, 200)).min() < 5 for peak in peaks)
    assert counts == {3, 4, 5, 6}


def test_babble_without_talkers_says_so() -> None:
    """Risk: a recording labelled babble that has none."""
    silence = np.zeros(1000, dtype=np.float32)
    for others in ([], [silence, silence[:0]]):
        with pytest.raises(ValueError, match="needs other recordings"):
            heard(tone(300), Scene(5.0, "babble"), rng(), others)
    late = [np.concatenate([np.zeros(400_000, dtype=np.float32), tone(300, 0.02)])]
    assert np.isfinite(heard(tone(300, 0.01), Scene(5.0, "babble"), rng(), late)).all()  # cut from its silence


@pytest.mark.parametrize("rt60_s", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("direct_db", [-3.0, 12.0])
def test_a_room_rings_as_long_as_was_asked(rt60_s: float, direct_db: float) -> None:
    """Risk: amplitude taken for power, half or twice the time; the direct sound late, which moves every word."""
    click = np.zeros(SAMPLE_RATE, dtype=np.float32)
    click[0] = 1.0
    response = heard(click, Scene(rt60_s=rt60_s, direct_db=direct_db), rng()).astype(np.float64)
    assert len(response) == len(click) and np.abs(response).argmax() == 0
    energies = response**2
    assert 10 * np.log10(energies[0] / energies[1:].sum()) == pytest.approx(direct_db, abs=0.1)
    left = 10 * np.log10(energies[1 : round(rt60_s * SAMPLE_RATE)][::-1].cumsum()[::-1])  # Schroeder's integral
    falls = np.flatnonzero((left < left[0] - 5) & (left > left[0] - 35))
    slope = stats.linregress(falls / SAMPLE_RATE, left[falls]).slope
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)


def test_the_end_of_a_sound_does_not_come_round_to_its_beginning() -> None:
    """Risk: a product of spectra without room for the tail: echoes before the first word."""
    late = np.zeros(SAMPLE_RATE, dtype=np.float32)
    late[-100:] = tone(1000)[:100]
    for scene in (Scene(rt60_s=0.7, direct_db=-3.0), Scene(telephone=True, tilt_db=2.0)):
        assert np.abs(heard(late, scene, rng())[: SAMPLE_RATE // 2]).max() < 1e-3


@pytest.mark.parametrize(
    ("scene", "low", "high"),
    [
        (Scene(telephone=True), 300, 3400),
        (Scene(narrow_band=True), 0, 3900),
        (Scene(0.0, "white", telephone=True), 300, 3400),
    ],
)
def test_bands_hold_what_they_should_and_nothing_else(scene: Scene, low: float, high: float) -> None:
    """Risk: "as recorded at 8 kHz" with something above 4 kHz, or noise that never went through the telephone."""
    white = rng().standard_normal(32 * SAMPLE_RATE).astype(np.float32)
    sound = heard(white, scene, rng())
    # Without taking means away: the mean of a piece holds what its rough ends leak from within the band to 0 Hz.
    hertz, power = signal.welch(sound, SAMPLE_RATE, nperseg=2048, detrend=False)
    level = np.median(power[(hertz > 500) & (hertz < 3000)])
    inside = (hertz >= low + 30) & (hertz <= high - 30)
    outside = (hertz < low - 120) | (hertz > high + 120)
    assert np.abs(10 * np.log10(power[inside] / level)).max() < 1.5
    assert 10 * np.log10(power[outside].max() / level) < -40


def test_a_tilt_is_so_many_decibels_an_octave() -> None:
    """Risk: the wrong sign or twice the slope."""
    white = rng().standard_normal(8 * SAMPLE_RATE).astype(np.float32)
    hertz, power = signal.welch(heard(white, Scene(tilt_db=-1.5), rng()), SAMPLE_RATE, nperseg=4096)
    inside = (hertz > 130) & (hertz < 7900)
    fit = stats.linregress(np.log2(hertz[inside]), 10 * np.log10(power[inside]))
    assert fit.slope == pytest.approx(-1.5, abs=0.1)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.073, 1.1])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    """Risk: 1.1 that is slower, or a stretch that keeps the voice the same."""
    sound = heard(tone(1000), Scene(speed=speed), rng())
    assert len(sound) == pytest.approx(4 * SAMPLE_RATE / speed, abs=2)
    loudest = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * SAMPLE_RATE / len(sound)
    assert loudest == pytest.approx(1000 * speed, abs=0.5)


@pytest.mark.parametrize("level_db", [-30.0, -12.5, 0.0])
def test_the_peak_is_at_the_level(level_db: float) -> None:
    """Risk: noise or a room added after the level is set: a file that clips."""
    for scene in (Scene(), Scene(5.0, "pink", rt60_s=0.5, speed=0.95), Scene(clip_db=4.0)):
        sound = heard(syllables(2)[0], replace(scene, level_db=level_db), rng())
        assert 20 * np.log10(np.abs(sound).max()) == pytest.approx(level_db, abs=1e-3)


def test_a_level_above_full_scale_is_full_scale() -> None:
    """Risk: a file of integers wraps round."""
    assert np.abs(heard(tone(440), Scene(level_db=6.0), rng())).max() == 1.0


def test_clipping_flattens_what_is_above() -> None:
    """Risk: nothing is cut, or the clipped sound comes out louder than its level."""
    sound = heard(tone(99.7), Scene(clip_db=20 * np.log10(2), level_db=-6.0), rng())
    assert (np.abs(sound) > 0.999 * np.abs(sound).max()).mean() == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2


def test_a_plain_scene_only_changes_the_level() -> None:
    """Risk: clean recordings that are not, and an input that is written to."""
    sound, before = tone(440), tone(440)
    out = heard(sound, Scene(level_db=0.0), rng())
    assert np.allclose(out, sound * (out[100] / sound[100]), atol=1e-6)
    heard(sound, Scene(5.0, "white", rt60_s=0.3, telephone=True), rng())
    assert np.array_equal(sound, before)


FRESH = """
import hashlib, numpy as np
from pipeline.training.acoustics import Conditions, draw, heard
sound = np.sin(np.arange(20000, dtype=np.float32) / 10)
digest = hashlib.sha256()
for seed in {seeds}:
    rng = np.random.default_rng(seed)
    scene = draw(Conditions(clean=0.0, noise=1.0), rng)
    digest.update(repr(scene).encode() + heard(sound, scene, rng, [sound, sound[::-1]]).tobytes())
print(digest.hexdigest())
"""


def test_the_same_seed_is_the_same_recording_in_every_process() -> None:
    """Risk: noise kept per process depends on what was drawn first: a training run that cannot be resumed equal."""
    sound = np.sin(np.arange(20000, dtype=np.float32) / 10)

    def digest(seeds: Sequence[int]) -> str:
        whole = hashlib.sha256()
        for seed in seeds:
            drawn = rng(seed)
            scene = draw(Conditions(clean=0.0, noise=1.0), drawn)
            whole.update(repr(scene).encode() + heard(sound, scene, drawn, [sound, sound[::-1]]).tobytes())
        return whole.hexdigest()

    digest(range(30, 60))
    program = FRESH.format(seeds=list(range(20)))
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert digest(range(20)) == elsewhere.stdout.strip()
    assert len({digest([seed]) for seed in range(20)}) == 20


def test_shares_and_ranges_are_those_of_the_conditions() -> None:
    """Risk: shares taken of the rest instead of all: noise in 42 % where 60 % were asked."""
    conditions, drawn = Conditions(), rng()
    scenes = [draw(conditions, drawn) for _ in range(5000)]
    clean = [s for s in scenes if s == Scene(level_db=s.level_db, speed=s.speed)]
    shares = {
        "noise": (conditions.noise, [s.snr_db is not None for s in scenes]),
        "reverberation": (conditions.reverberation, [s.rt60_s is not None for s in scenes]),
        "telephone": (conditions.telephone, [s.telephone for s in scenes]),
        "narrow band": (conditions.narrow_band, [s.narrow_band for s in scenes]),
        "speed": (conditions.speed_changed, [s.speed != 1.0 for s in scenes]),
        "tilt": (conditions.tilt, [s.tilt_db != 0.0 for s in scenes]),
        "clipped": (conditions.clipped, [s.clip_db != 0.0 for s in scenes]),
    }
    for name, (asked, happened) in shares.items():
        assert np.mean(happened) == pytest.approx(asked, abs=0.03), name
    assert len(clean) / len(scenes) == pytest.approx(conditions.clean, abs=0.03)
    assert not any(s.telephone and s.narrow_band for s in scenes)
    assert all((s.noise == "none") == (s.snr_db is None) for s in scenes)
    assert {s.noise for s in scenes} == {"none", *NOISES}
    for name in ("snr_db", "rt60_s", "speed", "level_db"):
        low, high = getattr(conditions, name)
        values = [value for s in scenes if (value := getattr(s, name)) is not None]
        assert low <= min(values) < low + (high - low) / 50 and high - (high - low) / 50 < max(values) <= high, name


def test_conditions_that_cannot_be_drawn_are_refused() -> None:
    """Risk: a typing error in a recipe is found as a strange model, a night later."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"noise": 1.2}, "noise is a share"),
        ({"tilt": float("nan")}, "tilt is a share"),
        ({"snr_db": (35.0, 5.0)}, "snr_db goes from low to high"),
        ({"speed": (0.0, 1.0)}, "speed is above 0"),
        ({"noise": 0.8}, "noise at 0.8 leaves no 0.3 clean"),
        ({"telephone": 0.5, "narrow_band": 0.4}, "telephone and narrow_band"),
        ({"noises": ("purple",)}, "noises are some of white"),
        ({"noises": ()}, "noises are some of white"),
    ]
    for given_, message in wrong:
        with pytest.raises(UsageError, match=message):
            Conditions(**given_)
    assert draw(Conditions(clean=1.0, noise=0, reverberation=0, tilt=0, telephone=0, narrow_band=0, clipped=0), rng())


@settings(max_examples=150, deadline=None)
@given(
    arrays.arrays(np.float32, st.integers(0, 700), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.integers(0, 10_000),
)
def test_whatever_is_finite_comes_out_finite_and_within_one(sound: FloatArray, seed: int) -> None:
    """Risk: one odd file, of one sample, of nothing or of denormals, makes the loss NaN and the model with it."""
    drawn = rng(seed)
    out = heard(sound, draw(Conditions(clean=0.1), drawn), drawn, [sound, tone(300)])
    assert out.dtype == np.float32 and np.isfinite(out).all() and (np.abs(out) <= 1).all()
    assert len(out) >= min(1, len(sound))
    if not sound.any():
        assert np.array_equal(out, sound)


def test_a_tone_that_the_telephone_takes_away_is_silence() -> None:
    """Risk: what is left by rounding is brought up to full level."""
    assert not heard(tone(6000) * np.hanning(4 * SAMPLE_RATE).astype(np.float32), Scene(telephone=True), rng()).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_sound_is_refused(value: float) -> None:
    """Risk: NaN spreads to the whole recording, and to a batch when it babbles."""
    broken = tone(300)
    broken[17] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        heard(broken, Scene(), rng())
    with pytest.raises(ValueError, match="NaN or infinity"):
        heard(tone(300), Scene(5.0, "babble"), rng(), [broken])
