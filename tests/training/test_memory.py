"""What is asked of the system's memory is something that it takes."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_what_it_is_asked(tmp_path):
    """In a process of its own, as it is for good."""
    script = "from pipeline.training import memory; print(memory.keep())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "True\n"
