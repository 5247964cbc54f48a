"""A sound comes back whole where nothing is lost, and else with about as much wrong as was drawn."""

import numpy as np
import pytest

from pipeline.training import lossy
from pipeline.training.lossy import squeezed


@pytest.fixture
def sound() -> np.ndarray:
    """Noise that falls with its frequency, louder and softer."""
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(40_000)) * np.linspace(1, 0.1, 20_001)
    wave = np.fft.irfft(spectrum) * np.abs(np.sin(np.arange(40_000) / 3000))
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(lossy, "CUT_HZ", (9000.0, 9000.0))
    monkeypatch.setattr(lossy, "FALL_DB", (0.0, 0.0))


@pytest.mark.parametrize("num_samples", [1, 255, 256, 257, 512, 39_999, 40_000])
def test_where_nothing_is_lost_all_comes_back(num_samples, sound, whole, monkeypatch):
    monkeypatch.setattr(lossy, "RATIO_DB", (150.0, 150.0))
    back = squeezed(sound[:num_samples], np.random.default_rng(0))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, sound[:num_samples], atol=1e-5)


@pytest.mark.parametrize("ratio_db", [8.0, 14.0, 20.0])
def test_what_is_wrong_is_as_much_as_asked_for(ratio_db, sound, whole, monkeypatch):
    monkeypatch.setattr(lossy, "RATIO_DB", (ratio_db, ratio_db))
    wrong = squeezed(sound, np.random.default_rng(0)) - sound
    found_db = 10 * np.log10(np.square(sound).sum() / np.square(wrong).sum())
    assert found_db == pytest.approx(ratio_db, abs=2.0)


def test_above_the_cut_nothing_is_left(sound, monkeypatch):
    monkeypatch.setattr(lossy, "CUT_HZ", (4000.0, 4000.0))
    spectrum = np.abs(np.fft.rfft(squeezed(sound, np.random.default_rng(0)))) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / 16_000)
    assert spectrum[hertz > 4200].sum() < 1e-4 * spectrum.sum()


def test_silence_stays_silent_and_draws_differ(sound):
    assert not squeezed(np.zeros(1000, np.float32), np.random.default_rng(0)).any()
    first, again, other = (squeezed(sound, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
