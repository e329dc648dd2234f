"""A child process: its log, waiting until it answers, and its end."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ops.local import tether
from schemas.errors import MarqueeError

# Between two looks at whether a child is ready: well below the 2 s that the quickest of them takes.
POLL_S = 0.1
LOG_TAIL_LINES = 15
LOG_TAIL = " The end of "  # what it begins with


class LocalError(MarqueeError):
    """A server on this machine could not be started."""


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back what asks us to end: between a child's start and our note of it, it would leave a child that nobody stops.

    The child inherits that, and `tether` undoes it there.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, tether.ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class ChildProcess:
    """A command that can be started again and again, and never outlives this process, not even under kill -9."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """`environment` is added to this process' own; both outputs are appended to `log`."""
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self.directory = directory
        self.log_start = 0  # where in the log the last run begins
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command, without waiting for anything.

        Call it from a thread that lives as long as the child shall: Linux ends the child with the thread.
        """
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, _uninterrupted():
            self.log_start = log.tell()
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment,
                cwd=self.directory,
                # Ctrl-C in a terminal is for us alone: who ends when is our order, not the terminal's.
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Of the running process, None where none runs."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def returncode(self) -> int | None:
        """Of the last run, negative for a signal; None while it runs or before the first start."""
        return self._child.poll() if self._child is not None else None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, SIGSTOP and SIGCONT for one; nothing happens where no process runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM), and do not wait."""
        self.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the process to end (SIGTERM), and kill it where it has not within `timeout_s` seconds."""
        if self._child is None:
            return
        self.terminate()
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()` is true.

        Raises:
            LocalError: the process ended, or `timeout_s` seconds went by; the end of its log is in the message.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise LocalError(
                    f"{self.name} ended with code {self.returncode} at its start.{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} did not answer within {timeout_s:.0f} s.{self.log_tail()}")
            time.sleep(POLL_S)

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of a command that ends by itself.

        Raises:
            LocalError: it failed, or took longer than `timeout_s` seconds; the end of its log is in the message.
        """
        if self._child is None:
            raise ValueError(f"{self.name} was not started")
        try:
            code = self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LocalError(f"{self.name} took longer than {timeout_s:.0f} s.{self.log_tail()}") from None
        if code != 0:
            raise LocalError(f"{self.name} failed with code {code}.{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of the log, with its path before them, to end a message with."""
        if not self.log.is_file():
            return ""
        with self.log.open(errors="replace") as log:
            lines = deque(log, LOG_TAIL_LINES)
        return f"{LOG_TAIL}{self.log}:\n" + "".join(f"  {line.rstrip()}\n" for line in lines)
