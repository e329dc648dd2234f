"""A child process ends with its parent, also after kill -9, and a failed start names its cause."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.local.process import ChildProcess, LocalError

SLEEP = [sys.executable, "-c", "print('asleep', flush=True); import time; time.sleep(600)"]

# Starts a child, says its process id, and waits to be killed.
PARENT = """
import sys, time
from pathlib import Path
from ops.local.process import ChildProcess
child = ChildProcess("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    """Whether the process ended; it may still be listed until its new parent asks for its code."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_gone(pid: int) -> None:
    """Until the process ended; the test's own timeout is the limit."""
    while not is_gone(pid):
        time.sleep(0.05)


@pytest.fixture
def sleeper(tmp_path: Path) -> ChildProcess:
    return ChildProcess("sleeper", SLEEP, log=tmp_path / "sleeper.log")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends the child")
def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    # Given a process that started a child
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not is_gone(child)
    # When it is killed, and can do nothing about it
    parent.kill()
    parent.wait()
    parent.stdout.close()
    # Then the child ends too
    wait_gone(child)


def test_a_child_can_be_started_again_and_its_log_goes_on(sleeper: ChildProcess) -> None:
    for run in (1, 2):
        # When it is started and killed
        sleeper.start()
        sleeper.wait_until(lambda run=run: sleeper.log_tail().count("asleep") == run, 30)  # type: ignore[misc]
        sleeper.kill()
        # Then it has ended, with its exit code
        assert not sleeper.running
        assert sleeper.pid is None
        assert sleeper.returncode == -signal.SIGKILL


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    # Given a child that does not want to end
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    child = ChildProcess("deaf", [sys.executable, "-c", code], log=tmp_path / "log")
    child.start()
    child.wait_until(lambda: "deaf" in child.log_tail(), 30)
    # When it is stopped with little patience
    child.stop(timeout_s=0.2)
    # Then it ends all the same
    assert child.returncode == -signal.SIGKILL


def test_ctrl_c_in_the_terminal_does_not_reach_a_child(sleeper: ChildProcess) -> None:
    sleeper.start()
    try:
        assert sleeper.pid is not None
        assert os.getpgid(sleeper.pid) != os.getpgid(0)
    finally:
        sleeper.kill()


def test_a_child_that_ends_at_its_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    # Given a server that cannot start
    command = [sys.executable, "-c", "raise SystemExit('the disk is on fire')"]
    child = ChildProcess("server", command, log=tmp_path / "server.log")
    child.start()
    # When we wait for it, then we hear why
    with pytest.raises(LocalError, match=r"server ended with code 1.*\n.*the disk is on fire"):
        child.wait_until(lambda: False, 30)


def test_a_child_that_never_answers_is_given_up(sleeper: ChildProcess) -> None:
    sleeper.start()
    try:
        with pytest.raises(LocalError, match="sleeper did not answer within 0 s"):
            sleeper.wait_until(lambda: False, 0.3)
    finally:
        sleeper.kill()


def test_a_command_that_is_not_there_is_reported(tmp_path: Path) -> None:
    child = ChildProcess("ghost", [str(tmp_path / "no-such-program")], log=tmp_path / "log")
    child.start()
    with pytest.raises(LocalError, match="No such file"):
        child.finish(30)


def test_an_interrupt_during_the_start_leaves_a_known_child(
    sleeper: ChildProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given Ctrl-C at the worst moment: the child runs, and is not recorded yet
    start = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        child = start(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return child

    monkeypatch.setattr("subprocess.Popen", interrupted)
    # When it comes
    with pytest.raises(KeyboardInterrupt):
        sleeper.start()
    # Then the child gets SIGTERM, and ends
    assert sleeper.running
    sleeper.stop()
    assert sleeper.returncode == -signal.SIGTERM
