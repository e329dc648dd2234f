"""How many vectors one search holds: few at first, soon as many as there are, and fewer once Milvus took too long."""

import logging
import threading

log = logging.getLogger(__name__)

# What is given up keeps Milvus busy until it is through, so it is not tried out from above.
_FIRST = 64
# What took less of the time that a call has may well be doubled: at once, until one took too long, and then only after so
# many in a row, because the next that takes too long costs its batch all of that time.
_QUICK = 0.25
_QUICK_CALLS = 16


class CallSize:
    """Doubled by calls of full size that were quick, halved by one that took too long.

    A large catalogue in a busy Milvus can need more for a whole batch than one call may take. Repeated as it was, such a
    batch would fail for ever, and its partitions would stand still.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._most = _FIRST
        self._quick_calls = 0
        self._until_larger = 1
        self._lock = threading.Lock()

    def parts(self, count: int) -> list[slice]:
        """`count` vectors in calls of what may be asked for now; it stays so until they are through."""
        most = self._most
        return [slice(start, min(count, start + most)) for start in range(0, count, most)]

    def took(self, count: int, seconds: float) -> None:
        """A call with so many vectors was answered."""
        with self._lock:
            if count < self._most:
                return
            self._quick_calls = self._quick_calls + 1 if seconds < _QUICK * self._timeout_s else 0
            if self._quick_calls == self._until_larger:
                self._most, self._quick_calls = 2 * self._most, 0

    def too_long(self, count: int) -> None:
        """A call with so many vectors was given up. Other batches may have said so already."""
        with self._lock:
            half = max(1, count // 2)
            self._until_larger = _QUICK_CALLS
            if half < self._most:
                self._most, self._quick_calls = half, 0
                log.warning(
                    "Milvus took more than %g s for %d vectors; asking for %d at a time",
                    self._timeout_s,
                    count,
                    half,
                )
