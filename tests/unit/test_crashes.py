"""A crash in any library ends the process, so that a supervisor sees it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.paddle

LOOK = """
import re, signal
signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))
import worker.release.paddle_engine
caught = int(re.search(r"SigCgt:\\s*(\\w+)", open("/proc/self/status").read())[1], 16)
print([each.name for each in signal.Signals if caught >> (each - 1) & 1 and each != signal.SIGWINCH])  # readline's
signal.raise_signal(signal.SIGTERM)
"""


def test_nobody_stands_between_a_crash_and_the_end() -> None:
    # Given Paddle, which has handlers of its own that can hang
    looked = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    # Then none of them is left, and our own of SIGTERM is
    assert looked.stdout.splitlines() == ["['SIGINT', 'SIGTERM']", "asked to end"], looked.stderr
