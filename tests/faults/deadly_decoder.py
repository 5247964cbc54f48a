"""A decoder that does what it must, but for recordings whose bytes tell it how to die.

Runs in the process that `pipeline.read.child` serves, as libraries in native code do that have such bugs.
"""

import ctypes
import time
from typing import Any

from pipeline.read import audio
from pipeline.read.audio import num_channels as num_channels
from pipeline.read.guard import Limits, Sound
from pipeline.records import Cut

HOARD: list[bytes] = []


def decode(file: Any, limits: Limits, cut: Cut) -> Sound:
    order = file.read(16)
    file.seek(0)
    if order == b"segfault":
        ctypes.string_at(0)
    while order == b"hog":
        HOARD.append(bytes(2**24))  # whose pages the system need not find
    while order == b"endless":
        time.sleep(1)
    return audio.decode(file, limits, cut)
