"""espeak-ng as a synthesiser, which is optional and GPL-3: a process of its own loads the library.

Knows nothing of who asks: a request is a line of JSON, an answer another one and the samples that it counts.
"""

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from typing import IO, Any

from pipeline.text.espeak_process import Fault, wheel

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS, _DO_NOT_EXIT = 2, 0x8000
_RATE, _VOLUME, _PITCH = 1, 2, 3
_UTF8 = 1

VARIANTS = ("voices", "!v")  # where they lie in the data
OWN = "nightshift"  # a variant that is not espeak-ng's

SAMPLE_RATE = 22_050  # Hz; of the library's data
# Per cent of what espeak-ng takes for full: at 100 it clips 15 of 104 voices, at 30 the loudest one reaches 0.996 of
# full scale, at 20 it reaches 0.75 and the quietest 0.04, still 1,300 steps of 16 bits.
LOUDNESS = 20


def serve() -> None:
    """Answers until nobody is there to ask; one answer comes unasked, when the library is open."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # espeak-ng prints some of its complaints where the answers go
    with tempfile.TemporaryDirectory(prefix="espeak-") as folder:
        try:
            speaker = _Speaker(folder)
        except ImportError:
            return _answer(answers, {"missing": True})
        except (Fault, OSError) as fault:
            return _answer(answers, {"fault": str(fault)})
        _answer(answers, {"num_bytes": 0})
        for line in sys.stdin.buffer:
            _answer(answers, *_in_a_fork(speaker, json.loads(line)))


def _answer(answers: IO[bytes], header: dict[str, Any], samples: bytes = b"") -> None:
    answers.write(json.dumps(header).encode() + b"\n" + samples)
    answers.flush()


def _in_a_fork(speaker: "_Speaker", request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Header and samples. The library remembers what it has said before, and says the next text by it: 89 of 104
    voices spoke other samples after other texts. A fork has heard nothing yet; and only itself is what it can crash.
    """
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as file:
                file.write(speaker.said(request))
            status = 0
        except BaseException:  # it must not go on as a second server
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        samples = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        return {"crash": signal.Signals(-code).name if code < 0 else f"exit code {code}"}, b""
    return {"num_bytes": len(samples)}, samples


def _link(source: str, target: str, opened: tuple[str, ...]) -> None:
    """All that is in a folder, linked, but one folder below, which is one of our own with what is in it linked."""
    for name in os.listdir(source):
        if not opened or name != opened[0]:
            os.symlink(os.path.join(source, name), os.path.join(target, name))
    if opened:
        os.mkdir(os.path.join(target, opened[0]))
        _link(os.path.join(source, opened[0]), os.path.join(target, opened[0]), opened[1:])


class _Speaker:
    def __init__(self, folder: str) -> None:
        """`folder` is empty, and becomes espeak-ng's data with room for a variant of our own."""
        library, data = wheel()
        self._espeak, self._data = ctypes.CDLL(library), folder
        fault = Fault(f"espeak-ng cannot read its data at {data}: install espeakng-loader again")
        try:
            _link(data, folder, VARIANTS)
        except OSError as error:
            raise fault from error
        opened = self._espeak.espeak_Initialize(_SYNCHRONOUS, 500, os.fsencode(folder), _DO_NOT_EXIT)
        if opened != SAMPLE_RATE:  # 0 without data
            raise fault
        self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))  # the breath of nine variants, else drawn from the clock
        self._samples = list[bytes]()
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._heard = kind(self._hear)  # the library keeps no reference
        self._espeak.espeak_SetSynthCallback(self._heard)

    def _hear(self, samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            self._samples.append(ctypes.string_at(samples, 2 * num_samples))
        return 0  # go on

    def said(self, request: dict[str, Any]) -> bytes:
        """Samples of 16 bits."""
        accent, variant = request["voice"].split("+")
        if request["timbre"]:  # under a name that no link to the wheel's own files has
            variant = OWN
            with open(os.path.join(self._data, *VARIANTS, OWN), "w") as written:
                written.write(request["timbre"])
        file = os.path.join(self._data, *VARIANTS, variant)
        if not os.path.isfile(file):  # of this it would say nothing
            raise LookupError(f"espeak-ng has no variant {variant!r}")
        if self._espeak.espeak_SetVoiceByName(f"{accent}+{variant}".encode()):
            raise LookupError(f"espeak-ng has no voice {accent!r}")
        for parameter, value in ((_RATE, request["rate"]), (_PITCH, request["pitch"]), (_VOLUME, LOUDNESS)):
            self._espeak.espeak_SetParameter(parameter, value, 0)
        text = request["text"].encode()
        if self._espeak.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None):
            raise RuntimeError("espeak-ng refuses the text")
        return b"".join(self._samples)
