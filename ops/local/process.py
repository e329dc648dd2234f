"""Child processes: start, log, readiness and end of each, and the supervisor that restarts them."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.local import tether
from schemas.errors import MarqueeError

# Interval of the readiness check: far below the 2 s that the quickest child takes.
POLL_S = 0.1
LOG_TAIL_LINES = 15
LOG_TAIL = " The end of "  # the beginning of `log_tail`
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
# A child that ran for so long was healthy: its next pause is the first again.
HEALTHY_AFTER_S = 30.0

log = logging.getLogger(__name__)


class LocalError(MarqueeError):
    """A server on this machine could not be started."""


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block the signals that end this process while a child starts: a child that is not recorded yet would outlive it.

    The child inherits the blocked signals, and `tether` unblocks them.
    """
    held = signal.pthread_sigmask(signal.SIG_BLOCK, tether.ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


class ChildProcess:
    """A command that can be started many times, and never outlives this process, not even after kill -9."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        """`environment` is added to that of this process; standard output and error are appended to `log`."""
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment or {})
        self.directory = directory
        self.log_start = 0  # position in the log at which the last run begins
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command, and return at once.

        Call it from a thread that outlives the child: Linux kills the child when the thread ends.
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
                # Ctrl-C of the terminal reaches this process alone, which stops its children in order.
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id; None unless the child runs."""
        return self._child.pid if self._child is not None and self.running else None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run, negative for a signal; None while it runs or before the first start."""
        return self._child.poll() if self._child is not None else None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, for instance SIGSTOP, if the child runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self.send_signal(signal.SIGTERM)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL if the child still runs after `timeout_s` seconds."""
        if self._child is None:
            return
        self.terminate()
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL, and wait until the child has ended."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()` is true.

        Raises:
            LocalError: the child ended, or `timeout_s` seconds passed; the message quotes the end of its log.
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
        """Wait until a command ends by itself.

        Raises:
            LocalError: it failed, or took longer than `timeout_s` seconds; the message quotes the end of its log.
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
        """Quote the path and the last lines of the log, for the end of a message."""
        if not self.log.is_file():
            return ""
        with self.log.open(errors="replace") as log:
            lines = deque(log, LOG_TAIL_LINES)
        return f"{LOG_TAIL}{self.log}:\n" + "".join(f"  {line.rstrip()}\n" for line in lines)


@dataclass
class _Watched:
    child: ChildProcess
    started_at: float
    pause_s: float = FIRST_PAUSE_S
    start_at: float | None = None  # None while it runs


class Supervisor:
    """Restarts children that ended, as a container engine does: after pauses that grow."""

    def __init__(self, children: Sequence[ChildProcess], on_start: Callable[[], None]) -> None:
        """`on_start` is called after a restart."""
        self._on_start = on_start
        now = time.monotonic()
        self._watched = [_Watched(child, started_at=now) for child in children]

    def check(self) -> None:
        """Check each child once: record an end, and restart a child whose pause is over."""
        started = [watched for watched in self._watched if self._restarted(watched)]
        if started:
            self._on_start()

    def _restarted(self, watched: _Watched) -> bool:
        now = time.monotonic()
        child = watched.child
        if child.running:
            return False
        if watched.start_at is None:
            if now - watched.started_at > HEALTHY_AFTER_S:
                watched.pause_s = FIRST_PAUSE_S
            watched.start_at = now + watched.pause_s
            log.warning(
                "%s ended with code %s; restart in %.1f s (%s)",
                child.name,
                child.returncode,
                watched.pause_s,
                child.log,
            )
        if now < watched.start_at:
            return False
        child.start()
        log.info("%s restarted, process %s", child.name, child.pid)
        watched.started_at, watched.start_at = now, None
        watched.pause_s = min(2 * watched.pause_s, LONGEST_PAUSE_S)
        return True
