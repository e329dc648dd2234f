"""Calls into the Kafka client, watched from outside."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.monitoring.threads import start_vital

log = logging.getLogger(__name__)


def close_aside(close: Callable[[], None]) -> None:
    """Have a client closed that nobody uses any more: it may wait for a broker that is gone, and nobody waits with it."""

    def failed(error: BaseException) -> None:
        log.warning("closing a Kafka client failed: %s", error)

    start_vital("close", close, failed)


class CallWatch:
    """How long the call under way has lasted: librdkafka's can outlive their timeout, so they are watched from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._call: tuple[str, float] | None = None
        self._seconds: dict[str, float] = {}

    @contextmanager
    def of(self, call: str) -> Iterator[None]:
        began = time.monotonic()
        with self._lock:
            self._call = (call, began)
        try:
            yield
        finally:
            with self._lock:
                self._call = None
                self._seconds[call] = time.monotonic() - began

    def seconds(self, call: str) -> float:
        """How long this call lasted the last time; 0.0 where it was never made."""
        return self._seconds.get(call, 0.0)

    def longest(self) -> tuple[str, float]:
        """Name of the call under way and its seconds so far; `("", 0.0)` where there is none."""
        with self._lock:
            return (self._call[0], time.monotonic() - self._call[1]) if self._call else ("", 0.0)
