"""Threads: the error of a vital one is raised in the main loop, a side one is restarted; tokens that cancel their work."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from prometheus_client import Counter

from worker.errors import AbandonedError
from worker.monitoring.waiting import Deadline, back_off

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_counters: "WeakSet[Counter]" = WeakSet()
_restarts: dict[str, tuple[int, str]] = {}  # by name: the count in this process, and the last reason
_lock = threading.Lock()


class Failure:
    """The error that ended a vital thread, for the main loop."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def note(self, error: BaseException) -> None:
        self.error = error

    def raise_noted(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error


class Cancellation:
    """A token of work that may wait: its owner cancels it, and the work checks it between two attempts."""

    def __init__(self, *others: "Cancellation", seconds: float = math.inf) -> None:
        """Count as cancelled, too, as soon as one of `others` is, or `seconds` from now."""
        self._others = others
        self._deadline = Deadline(seconds)
        self._error: type[Exception] | None = None

    def cancel(self, error: type[Exception] = AbandonedError) -> None:
        """Have every later check raise this error. Any thread may call it; the first error stays."""
        self._error = self._error or error

    def check(self) -> None:
        """Raise the error that the token, or one of the others, was cancelled with."""
        for other in self._others:
            other.check()
        if self._error is not None:
            raise self._error
        if self._deadline.passed:
            raise AbandonedError


def start_vital(
    name: str, run: Callable[[], None], failed: Callable[[BaseException], None]
) -> threading.Thread:
    """Run in a thread; `failed` takes the error that ends it, to raise or report it elsewhere."""

    def watched() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  handed on
            failed(error)

    return _started(name, watched)


def start_side(name: str, run: Callable[[], None], stopping: threading.Event) -> threading.Thread:
    """Run in a thread until it returns, or until `stopping`; restart it after an error, with a growing back-off."""

    def restarted() -> None:
        pauses = back_off(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS)
        while not stopping.is_set():
            began = time.monotonic()
            try:
                run()
                return
            except Exception as error:  # noqa: BLE001  counted, and named by /health/ready
                note_restart(name, error)
            if time.monotonic() - began > _LONGEST_BACKOFF_SECONDS:
                pauses = back_off(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS)
            stopping.wait(next(pauses))

    return _started(name, restarted)


def guarded(name: str, call: Callable[[T], None]) -> Callable[[T], None]:
    """A callback of a Kafka client that counts its errors; raised, they would surface in the call that polls the client."""

    def quietly(argument: T) -> None:
        try:
            call(argument)
        except Exception as error:  # noqa: BLE001  counted, and named by /health/ready
            note_restart(name, error)

    return quietly


def note_restart(name: str, error: BaseException) -> None:
    """Count a restart and log the type of its error alone: the message may quote an event."""
    reason = type(error).__name__
    with _lock:
        count = _restarts.get(name, (0, ""))[0] + 1
        _restarts[name] = count, reason
        counters = list(_counters)
    for counter in counters:
        counter.labels(name).inc()
    if (
        count.bit_count() == 1
    ):  # the 1st, 2nd, 4th, 8th time, so that a thread that keeps failing does not fill the log
        log.warning(
            "%s failed with %s and is restarted, %d times so far", name, reason, count, exc_info=error
        )


def restarts() -> dict[str, str]:
    """The threads that were restarted in this process, each with a sentence on how often and why."""
    with _lock:
        return {
            name: f"restarted {count} times, the last time after {reason}"
            for name, (count, reason) in _restarts.items()
        }


def count_restarts_in(counter: Counter) -> None:
    """Count restarts in this counter, by the name of the thread, for as long as it is referenced."""
    _counters.add(counter)


def _started(name: str, run: Callable[[], None]) -> threading.Thread:
    # A daemon: a call that hangs for good inside a client must not keep the process from ending.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
