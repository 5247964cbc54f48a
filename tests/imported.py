"""What a command has imported by its end, in a process of its own."""

import subprocess
import sys


def imported(arguments: list[str]) -> tuple[set[str], str]:
    """Also what it has printed. The process ends as the program does: see `jobs.__main__.command`."""
    code = f"""
import os, sys
from jobs.__main__ import main
main({arguments!r})
print(*sys.modules, file=sys.stderr)
sys.stdout.flush()
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split()), done.stdout
