"""A flag that a signal handler sets, wherever it interrupts its thread."""

import subprocess
import sys
import threading
import time

from worker.process import Stopping

# Signals that come all the time while the same thread sets and waits; a `threading.Event` in its place waits for its own
# lock within a moment, for ever.
HAMMER = """
import signal
from worker.process import Stopping

stopping, came = Stopping(), []

def come(number, _):
    stopping.set()
    came.append(number)

signal.signal(signal.SIGVTALRM, come)
signal.setitimer(signal.ITIMER_VIRTUAL, 1e-4, 1e-4)
while len(came) < 200:
    stopping.set()
    assert stopping.wait(1.0)
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
"""


def test_a_signal_sets_the_flag_also_while_its_thread_sets_it() -> None:
    subprocess.run([sys.executable, "-c", HAMMER], check=True, timeout=120)


def test_setting_the_flag_ends_a_wait() -> None:
    stopping = Stopping()
    threading.Timer(0.05, stopping.set).start()
    began = time.monotonic()
    assert stopping.wait(250.0)
    assert time.monotonic() - began < 200.0


def test_a_wait_without_a_set_flag_returns_false() -> None:
    stopping = Stopping()
    assert not stopping.wait(0.01)
    stopping.set()
    assert stopping.is_set() and stopping.wait(0.01) and stopping.wait(0.01)
