"""The wish to end, which a signal may bring at any moment."""

import signal
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue


class Stopping:
    """As `threading.Event`, but a signal's handler may set it, which interrupts its own thread wherever that is.

    An event takes a lock to be set; the interrupted thread may hold it, and would then wait for itself. A `SimpleQueue`
    is made for this.
    """

    def __init__(self) -> None:
        self._wished = False
        self._woken: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._wished = True
        self._woken.put(None)

    def is_set(self) -> bool:
        return self._wished

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`, in one thread at a time; whether it is set."""
        if not self._wished:
            with suppress(Empty):
                self._woken.get(timeout=seconds)
        return self._wished


def on_signals(stop: Callable[[], None]) -> None:
    """Have SIGTERM and SIGINT call `stop`, in the middle of anything."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
