"""About what formats such as MP3 leave of a sound: in each band and moment the weak is gone, and the rest rough.

Real ones, there and back, take 2 to 35 times as long. Knows nothing of rooms, of lines or of files.
"""

import numpy as np

from pipeline.records import SAMPLE_RATE, FloatArray

FRAME = 512  # samples, every half of it one
EDGES_HZ = (0, 200, 400, 630, 920, 1270, 1720, 2320, 3150, 4400, 6400, 8000)
RATIO_DB = (7.0, 23.0)  # of what is left to what is wrong with it, in the lowest band
FALL_DB = (0.0, 8.0)  # by how much less it is in the highest
CUT_HZ = (3000.0, 9000.0)  # above it, nothing is left
_WINDOW = np.sqrt(np.hanning(FRAME + 1)[:FRAME]).astype(np.float32)
_BANDS = np.round(np.array(EDGES_HZ) * FRAME / SAMPLE_RATE).astype(int)


def squeezed(sound: FloatArray, rng: np.random.Generator) -> FloatArray:
    """As long as before."""
    half = FRAME // 2
    padded = np.pad(sound, (half, half + -len(sound) % half))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::half] * _WINDOW  # (frames, FRAME)
    spectra = np.fft.rfft(frames)  # (frames, FRAME / 2 + 1)
    spectra[:, round(rng.uniform(*CUT_HZ) * FRAME / SAMPLE_RATE) :] = 0
    parts = spectra.view(spectra.real.dtype).reshape(len(frames), -1, 2)  # real and imaginary
    ratio_db, fall_db = rng.uniform(*RATIO_DB), rng.uniform(*FALL_DB)
    for number, (low, high) in enumerate(zip(_BANDS[:-1], _BANDS[1:] + (_BANDS[1:] == half), strict=True)):
        band = parts[:, low:high]
        wrong_db = ratio_db - fall_db * number / (len(_BANDS) - 2)
        # Rounding is wrong by a step over the root of 12, and windows leave half the power of that.
        step = np.sqrt(24 * np.square(band).mean(axis=(1, 2), keepdims=True)) * 10 ** (-wrong_db / 20) + 1e-12
        band[:] = np.round(band / step) * step
    frames = np.fft.irfft(spectra, FRAME).astype(np.float32) * _WINDOW
    out = np.zeros((len(frames) + 1) * half, np.float32)
    out[: len(frames) * half] += frames[:, :half].ravel()
    out[half:] += frames[:, half:].ravel()
    return out[half : half + len(sound)]
