"""Threads, of which none ends unseen: what ends a vital one is raised in the main loop; a side one begins again, counted."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter

from worker.errors import AbandonedError

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_counters: "WeakSet[Counter]" = WeakSet()
_restarts: dict[str, tuple[int, str]] = {}  # by name: how often in this process, and why the last time
_lock = threading.Lock()


class Failure:
    """What ended a vital thread, for the main loop."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def note(self, error: BaseException) -> None:
        self.error = error

    def raise_noted(self) -> None:
        """Raise it, if there is any."""
        if self.error is not None:
            raise self.error


class Cancellation:
    """A token of work that may wait: its owner cancels it, and the work checks it between two attempts."""

    def __init__(self, *others: "Cancellation", seconds: float = math.inf) -> None:
        """Count as cancelled, too, as soon as one of `others` is, or `seconds` from now."""
        self._others = others
        self._deadline = time.monotonic() + seconds
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
        if time.monotonic() >= self._deadline:
            raise AbandonedError


def start_vital(
    name: str, run: Callable[[], None], failed: Callable[[BaseException], None]
) -> threading.Thread:
    """Run in a thread; `failed` takes whatever ends it but its own return, and has somebody raise or tell it."""

    def watched() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001  handed on
            failed(error)

    return _started(name, watched)


def start_side(name: str, run: Callable[[], None], stopping: threading.Event) -> threading.Thread:
    """Run in a thread until it returns, or until `stopping`; an error makes it begin again, later each time."""

    def restarted() -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while not stopping.is_set():
            began = time.monotonic()
            try:
                run()
                return
            except Exception as error:  # noqa: BLE001  counted, and named by /health/ready
                note_restart(name, error)
            if time.monotonic() - began > _LONGEST_BACKOFF_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            stopping.wait(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    return _started(name, restarted)


def guarded(name: str, call: Callable[[T], None]) -> Callable[[T], None]:
    """A callback of a Kafka client whose errors end nothing: raised, they would come out of whatever polls the client."""

    def quietly(argument: T) -> None:
        try:
            call(argument)
        except Exception as error:  # noqa: BLE001  counted, and named by /health/ready
            note_restart(name, error)

    return quietly


def note_restart(name: str, error: BaseException) -> None:
    """Count it. Of the error its type alone is told: what it says may quote an event."""
    reason = type(error).__name__
    with _lock:
        count = _restarts.get(name, (0, ""))[0] + 1
        _restarts[name] = count, reason
        counters = list(_counters)
    for counter in counters:
        counter.labels(name).inc()
    if count.bit_count() == 1:  # the 1st, 2nd, 4th, 8th time: one that fails for ever must not fill the log
        log.warning(
            "%s failed with %s and begins again, %d times so far", name, reason, count, exc_info=error
        )


def restarts() -> dict[str, str]:
    """What has begun again in this process, each with how often and why the last time, in a sentence."""
    with _lock:
        return {
            name: f"began again {count} times, the last time after {reason}"
            for name, (count, reason) in _restarts.items()
        }


class ThreadMetrics:
    """Counts side threads and callbacks that began again."""

    def __init__(self, registry: CollectorRegistry, *names: str) -> None:
        self._restarts = Counter(
            "marquee_thread_restarts",
            "Threads and callbacks beside the work that failed and began again, by name; any other that fails ends the process.",
            ["thread"],
            registry=registry,
        )
        for name in names:
            self._restarts.labels(name)
        _counters.add(self._restarts)


def _started(name: str, run: Callable[[], None]) -> threading.Thread:
    # A daemon: a call that hangs for good inside a client must not keep the process from ending.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
