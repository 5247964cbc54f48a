"""A decoder whose process is in trouble before it is ready, as folders in the one for temporary files tell it."""

import os
import signal
import time
from pathlib import Path

from tests.read.bad_decoders import decode as decode
from tests.read.bad_decoders import num_channels as num_channels

TOLD = Path(os.environ["TMPDIR"])

if (TOLD / "leave").exists() and not os.fork():  # what it leaves behind holds its pipes
    time.sleep(60)
    (TOLD / "outlived").mkdir()
    os._exit(0)
for number in (signal.SIGTERM, signal.SIGSEGV):
    if (TOLD / number.name).exists():
        (TOLD / number.name).rmdir()
        os.kill(os.getpid(), number)
