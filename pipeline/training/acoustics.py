"""What happens to sound between a mouth and a file: speaker, room, noise, line and level, drawn at random.

Knows nothing of files, text or models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Literal, get_args

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import SAMPLE_RATE, FloatArray

Noise = Literal["none", "white", "pink", "brown", "hum", "babble", "clatter"]
Range = tuple[float, float]
Band = tuple[float, float]

TELEPHONE: Band = (300.0, 3400.0)
NARROW: Band = (0.0, 3900.0)  # of sound once recorded at 8 kHz; the slope below is done at 4 kHz
SLOPE_HZ = 100.0  # from all to nothing at an edge of a band
FRAME = SAMPLE_RATE // 50
SILENT = 1e-5  # of the peak of the sound: what a filter leaves of a tone outside its band is its rounding
ACTIVE_DB = 25.0  # speech is where a frame is at most this far below the loudest
PIECE = 2**20  # samples of noise made once per process and colour: 65 s, 4 MB
PIECE_LOWEST_HZ = 20.0  # brown noise has all its power below what is heard
HUM_PERIOD = SAMPLE_RATE // 10  # samples in which both 50 Hz and 60 Hz come round
NUM_HARMONICS = 20
NUM_TALKERS: tuple[int, int] = (3, 6)
TILT_LOWEST_HZ = 125.0  # below it the tilt is level
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}  # amplitude falls with this power of the frequency


@dataclass(frozen=True)
class Conditions:
    """Shares of all recordings, and the ranges that are drawn from evenly where the thing happens.

    A clean recording has its own speed and level and nothing else, so no other share can be above 1 - clean.
    """

    clean: float = 0.3
    noise: float = 0.6
    snr_db: Range = (5.0, 35.0)
    noises: tuple[Noise, ...] = ("white", "pink", "brown", "hum", "babble", "clatter")
    reverberation: float = 0.4
    rt60_s: Range = (0.1, 0.7)
    direct_db: Range = (-3.0, 12.0)  # direct sound over all that follows
    tilt: float = 0.5
    tilt_db: Range = (-2.0, 2.0)  # per octave, of the speech alone
    telephone: float = 0.1
    narrow_band: float = 0.1
    speed_changed: float = 0.6
    speed: Range = (0.9, 1.1)
    level_db: Range = (-30.0, 0.0)  # peak
    clipped: float = 0.1
    clip_db: Range = (1.0, 6.0)  # what is cut off the highest peak

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float | int) and not 0 <= value <= 1:
                raise UsageError(f"conditions: {field.name} is a share, from 0 to 1, not {value}")
            if field.name != "noises" and isinstance(value, tuple) and not value[0] <= value[1]:
                raise UsageError(f"conditions: {field.name} goes from low to high, not from {value[0]} to {value[1]}")
            if field.name in ("rt60_s", "speed") and value[0] <= 0:
                raise UsageError(f"conditions: {field.name} is above 0, not {value[0]}")
        for name, share in (
            *(("noise", self.noise), ("reverberation", self.reverberation), ("tilt", self.tilt)),
            *(("clipped", self.clipped), ("telephone and narrow_band", self.telephone + self.narrow_band)),
        ):
            if share > 1 - self.clean + 1e-9:
                raise UsageError(f"conditions: {name} at {share} leaves no {self.clean} clean; lower one of the two")
        if not self.noises or not set(self.noises) <= set(get_args(Noise)) - {"none"}:
            raise UsageError(f"conditions: noises are some of {', '.join(get_args(Noise)[1:])}, not {self.noises}")


@dataclass(frozen=True)
class Scene:
    """What was drawn for one recording; without arguments, what leaves everything but the level as it is."""

    snr_db: float | None = None
    noise: Noise = "none"
    rt60_s: float | None = None
    level_db: float = -3.0
    speed: float = 1.0
    telephone: bool = False
    narrow_band: bool = False
    direct_db: float = 6.0  # of no effect without a room
    tilt_db: float = 0.0
    clip_db: float = 0.0

    @property
    def band(self) -> Band | None:
        return TELEPHONE if self.telephone else NARROW if self.narrow_band else None


def draw(conditions: Conditions, rng: np.random.Generator) -> Scene:
    speed = _between(conditions.speed, rng) if rng.random() < conditions.speed_changed else 1.0
    level_db = _between(conditions.level_db, rng)
    if rng.random() < conditions.clean:
        return Scene(level_db=level_db, speed=speed)
    shares = 1 / (1 - conditions.clean)  # from a share of all to a share of those that are not clean
    noisy = rng.random() < conditions.noise * shares
    reverberant = rng.random() < conditions.reverberation * shares
    line = rng.random()
    return Scene(
        snr_db=_between(conditions.snr_db, rng) if noisy else None,
        noise=conditions.noises[rng.integers(len(conditions.noises))] if noisy else "none",
        rt60_s=_between(conditions.rt60_s, rng) if reverberant else None,
        direct_db=_between(conditions.direct_db, rng),
        tilt_db=_between(conditions.tilt_db, rng) if rng.random() < conditions.tilt * shares else 0.0,
        level_db=level_db,
        speed=speed,
        telephone=line < conditions.telephone * shares,
        narrow_band=conditions.telephone * shares <= line < (conditions.telephone + conditions.narrow_band) * shares,
        clip_db=_between(conditions.clip_db, rng) if rng.random() < conditions.clipped * shares else 0.0,
    )


def heard(sound: FloatArray, scene: Scene, rng: np.random.Generator, babble: Sequence[FloatArray] = ()) -> FloatArray:
    """The recording of `sound` (16 kHz mono) in `scene`; silence has no level, and comes back as it is.

    The ratio is of the speech where it is not silent to the noise throughout, pauses of clatter too, after the room and
    the line, before clipping. Noise of the kind "babble" needs `babble`, other recordings, of which a few are mixed.
    """
    if (peak := _peak(sound)) == 0:
        return sound.astype(np.float32)
    speech = _at_speed((sound / peak).astype(np.float32), scene.speed)
    speech = _through(speech, scene.band, scene.tilt_db, _room(scene, rng))
    if scene.noise != "none" and scene.snr_db is not None:
        noise = _through(_noise(scene.noise, len(speech), rng, babble), scene.band)
        noise_power = float(np.mean(np.square(noise)))
        wanted = active_power(speech) / 10 ** (scene.snr_db / 10)
        if noise_power > 0:  # of one sample, nothing may be left
            speech = speech + noise * np.float32(np.sqrt(wanted / noise_power))
    return _at_level(speech, scene.level_db, scene.clip_db)


def active_power(sound: FloatArray) -> float:
    """Mean square over the frames of 20 ms that are not pauses: pauses would make the same voice seem weaker."""
    num_frames = max(1, len(sound) // FRAME)
    frames = sound[: num_frames * FRAME].reshape(num_frames, -1)
    powers = np.einsum("ij,ij->i", frames, frames) / frames.shape[1]
    return float(powers[powers >= powers.max() * 10 ** (-ACTIVE_DB / 10)].mean())


def impulse_response(rt60_s: float, direct_db: float, rng: np.random.Generator) -> FloatArray:
    """Direct sound, then noise that falls by 60 dB in `rt60_s`, after the way to a first wall of 1 to 4 m."""
    response = np.zeros(max(2, round(rt60_s * SAMPLE_RATE)), dtype=np.float32)
    first = min(int(rng.integers(SAMPLE_RATE // 170, SAMPLE_RATE // 42)), len(response) - 1)
    tail = rng.standard_normal(len(response) - first, dtype=np.float32)
    tail *= np.exp(np.arange(len(tail), dtype=np.float32) * np.float32(-3 * np.log(10) / (rt60_s * SAMPLE_RATE)))
    response[first:] = tail * np.float32(10 ** (-direct_db / 20) / np.linalg.norm(tail))
    response[0] = 1.0
    return response


def _peak(sound: FloatArray) -> float:
    peak = float(np.abs(sound).max(initial=0))
    if not np.isfinite(peak):
        raise ValueError("sound with NaN or infinity cannot be heard")
    return peak


def _between(ends: Range, rng: np.random.Generator) -> float:
    return round(float(rng.uniform(*ends)), 3)


def _at_speed(sound: FloatArray, speed: float) -> FloatArray:
    """Faster and higher, like a tape."""
    if speed == 1.0:
        return sound
    import soxr

    changed: FloatArray = soxr.resample(sound, SAMPLE_RATE * speed, SAMPLE_RATE, quality="HQ")
    return changed


def _room(scene: Scene, rng: np.random.Generator) -> FloatArray | None:
    return None if scene.rt60_s is None else impulse_response(scene.rt60_s, scene.direct_db, rng)


def _through(sound: FloatArray, band: Band | None, tilt_db: float = 0.0, room: FloatArray | None = None) -> FloatArray:
    """Everything linear in one product of spectra, as long as before."""
    if band is None and tilt_db == 0.0 and room is None:
        return sound
    num = _fft_length(len(sound) + (0 if room is None else len(room)) + SAMPLE_RATE // 20)
    spectrum = np.fft.rfft(sound, num)
    if room is not None:
        spectrum *= np.fft.rfft(room, num)
    hertz = np.arange(len(spectrum), dtype=np.float32) * np.float32(SAMPLE_RATE / num)
    if tilt_db:
        octaves = np.log2(np.maximum(hertz, np.float32(TILT_LOWEST_HZ)) * np.float32(1 / 1000))
        spectrum *= np.exp(octaves * np.float32(tilt_db * np.log(10) / 20))
    if band is not None:
        spectrum *= _gains(hertz, band)
    return np.fft.irfft(spectrum, num)[: len(sound)].astype(np.float32, copy=False)


def _gains(hertz: FloatArray, band: Band) -> FloatArray:
    """1 in the band, 0 beyond SLOPE_HZ outside it, half a cosine between."""
    outside = np.maximum(band[0] - hertz, hertz - band[1]).clip(0, SLOPE_HZ)
    gains: FloatArray = (0.5 + 0.5 * np.cos(outside * np.float32(np.pi / SLOPE_HZ))).astype(np.float32)
    return gains


def _fft_length(num: int) -> int:
    """At least `num`, and a power of two times a number up to 16: a large prime takes several times as long."""
    step = 1 << max(0, num.bit_length() - 4)
    return -(-num // step) * step


def _noise(kind: Noise, num: int, rng: np.random.Generator, babble: Sequence[FloatArray]) -> FloatArray:
    if kind == "babble":
        return _babble(num, rng, babble)
    if kind == "hum":
        return _hum(num, rng)
    if kind == "clatter":
        return _clatter(num, rng)
    return _cut(_piece(kind), num, rng)


@cache
def _piece(colour: str) -> FloatArray:
    """Noise whose end runs into its beginning; the same in every process, whatever was drawn before."""
    rng = np.random.default_rng(0)
    hertz = np.fft.rfftfreq(PIECE, 1 / SAMPLE_RATE)
    falling = np.where(hertz < PIECE_LOWEST_HZ, 0.0, np.maximum(hertz, 1.0) ** -COLOURS[colour])
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(PIECE)) * falling, PIECE)
    piece: FloatArray = (noise / noise.std()).astype(np.float32)
    piece.flags.writeable = False  # parts of it are given out as they are
    return piece


def _cut(piece: FloatArray, num: int, rng: np.random.Generator) -> FloatArray:
    """From anywhere, going round where it is too short."""
    start = int(rng.integers(len(piece)))
    return piece[start : start + num] if start + num <= len(piece) else np.resize(np.roll(piece, -start), num)


def _hum(num: int, rng: np.random.Generator) -> FloatArray:
    """Of the mains, and its harmonics."""
    multiples = np.arange(1, NUM_HARMONICS + 1)[:, None]
    turns = multiples * float(rng.choice((50, 60))) * np.arange(HUM_PERIOD) / SAMPLE_RATE
    phases = rng.random((NUM_HARMONICS, 1))
    strengths = rng.random((NUM_HARMONICS, 1)) / multiples
    period = (strengths * np.cos(2 * np.pi * (turns + phases))).sum(axis=0).astype(np.float32)
    return np.resize(period, num)


def _babble(num: int, rng: np.random.Generator, others: Sequence[FloatArray]) -> FloatArray:
    mixed = np.zeros(num, dtype=np.float32)
    num_talkers, num_wanted = 0, int(rng.integers(NUM_TALKERS[0], NUM_TALKERS[1] + 1))
    for number in rng.permutation(len(others)):
        if num_talkers < num_wanted and (peak := _peak(others[number])) > 0:
            talker = (others[number] / peak).astype(np.float32)
            mixed += _cut(talker, num, rng) / np.float32(np.sqrt(active_power(talker)))
            num_talkers += 1
    if not num_talkers:
        raise ValueError('noise of the kind "babble" needs other recordings that are not silent')
    return mixed


def _clatter(num: int, rng: np.random.Generator) -> FloatArray:
    """Bursts of 5 to 80 ms, 1 to 6 a second: dishes, doors, keys; at least one."""
    noise = np.zeros(num, dtype=np.float32)
    for _ in range(max(1, int(rng.poisson(rng.uniform(1, 6) * num / SAMPLE_RATE)))):
        length = int(rng.uniform(0.005, 0.08) * SAMPLE_RATE)
        start = int(rng.integers(num))
        burst = _cut(_piece("white" if rng.random() < 0.5 else "pink"), min(length, num - start), rng)
        decay = np.exp(np.arange(len(burst), dtype=np.float32) * np.float32(-5 / length))
        noise[start : start + len(burst)] += burst * decay * np.float32(rng.uniform(0.1, 1.0))
    return noise


def _at_level(sound: FloatArray, level_db: float, clip_db: float) -> FloatArray:
    if (peak := _peak(sound)) < SILENT:
        return np.zeros_like(sound)
    level = min(1.0, 10 ** (level_db / 20))
    louder: FloatArray = sound * np.float32(level * 10 ** (clip_db / 20) / peak)
    return louder.clip(-level, level)
