"""The search for the search's width: every setting of a grid over one sample, its speed and its error rate.

The setting it names has the lowest error rate of those that are fast enough. Knows nothing of how it is shown.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.bench_material import Sample, say
from jobs.bench_measure import BLOCK, native, said_by, word_errors
from pipeline.decode.options import SearchOptions

LEAST_SPEED = 2000.0  # audio seconds per core second
BEAM_WIDTHS = (25, 50, 100, 200, 400)
TOKEN_MIN_LOGPS = (-5.0, -6.0, -7.0, -8.0, -10.0, -12.0)
BEAM_PRUNE_LOGPS = (-6.0, -8.0, -10.0, -12.0, -15.0, -20.0)
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Setting:
    beam_width: int
    token_min_logp: float
    beam_prune_logp: float


@dataclass(frozen=True)
class Tried:
    setting: Setting
    audio_s_per_cpu_s: float
    wer: float
    interval: tuple[float, float]  # of the error rate, 95 %, over resampled utterances
    against_default: tuple[float, float]  # of the difference to the default setting's, on the same resamples
    narrowed: float  # share of utterances that reached the effort limit


@dataclass(frozen=True)
class Found:
    tried: list[Tried]
    default: Setting
    chosen: Setting | None  # None: nothing is fast enough


def grid() -> list[Setting]:
    return [Setting(*values) for values in itertools.product(BEAM_WIDTHS, TOKEN_MIN_LOGPS, BEAM_PRUNE_LOGPS)]


def find_width(search: Any, sample: Sample, settings: Sequence[Setting]) -> Found:
    """Decode the sample with every setting, and with the default one first."""
    standard = SearchOptions()
    default = Setting(standard.beam_width, standard.token_min_logp, standard.beam_prune_logp)
    settings = list(dict.fromkeys([default, *settings]))
    native(search, sample.emissions[:BLOCK], standard)
    speeds, errors, narrowed = [], [], []
    for number, setting in enumerate(settings, 1):
        speed, wrong, share = _try(search, sample, setting)
        speeds.append(speed)
        errors.append(wrong)
        narrowed.append(share)
        if number * 10 // len(settings) > (number - 1) * 10 // len(settings):
            say(f"search: {number} of {len(settings)} settings")
    lengths = np.array([text.count(" ") + 1 for text in sample.texts])
    rates, resampled = bootstrap(np.array(errors), lengths)
    tried = [
        Tried(setting, speeds[i], float(rates[i]), middle(resampled[i]), middle(resampled[i] - resampled[0]), share)
        for i, (setting, share) in enumerate(zip(settings, narrowed, strict=True))
    ]
    return Found(tried, default, choose(tried))


def choose(tried: Sequence[Tried]) -> Setting | None:
    """The lowest error rate that is fast enough; of equals the fastest."""
    fast = [one for one in tried if one.audio_s_per_cpu_s >= LEAST_SPEED]
    return min(fast, key=lambda one: (one.wer, -one.audio_s_per_cpu_s)).setting if fast else None


def worth_showing(found: Found) -> list[Tried]:
    """Fastest first: settings than which none is both faster and better, the default and the chosen one."""
    shown, best = [], float("inf")
    for one in sorted(found.tried, key=lambda one: (-one.audio_s_per_cpu_s, one.wer)):
        if one.wer < best or one.setting in (found.default, found.chosen):
            shown.append(one)
        best = min(best, one.wer)
    return shown


def bootstrap(
    errors: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], num: int = NUM_RESAMPLES
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Error rates (S,) of the settings' errors (S, N) in references of so many words (N,), and resampled ones (S, num).

    All settings see the same resamples of utterances, so that their differences have intervals too.
    """
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(lengths), np.full(len(lengths), 1 / len(lengths)), num)  # (num, N)
    return errors.sum(axis=1) / lengths.sum(), (errors @ times.T) / (times @ lengths)


def _try(search: Any, sample: Sample, setting: Setting) -> tuple[float, npt.NDArray[np.int64], float]:
    options = SearchOptions(setting.beam_width, setting.beam_prune_logp, setting.token_min_logp)
    began = time.process_time()
    decoded = search.decode(sample.emissions, options)
    cpu_s = time.process_time() - began
    wrong = np.array([counts.num_errors for counts in word_errors(sample.texts, [said_by(one) for one in decoded])])
    return sample.audio_s / cpu_s, wrong, float(np.mean([one.narrowed for one in decoded]))


def middle(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
