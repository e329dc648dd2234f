"""The blocklist: withdrawn movies, read to the end before the worker takes events, and followed."""

import logging
import threading
from typing import Self

from schemas.settings import Settings
from schemas.withdrawal import WithdrawalsView
from worker.kafka.reader import CompactedReader
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Failure, start_vital
from worker.serving.heartbeat import Heartbeat

log = logging.getLogger(__name__)

# A change is known after this and a fetch; the promise is a second.
_FOLLOW_SECONDS = 0.1
_READ_SECONDS = 2.0


class Blocklist:
    """Follows `withdrawals` in a thread of its own; `movies` is never recommended.

    A worker reads to the end before it takes the partitions of an assignment, at the start as after any rebalance, so it
    misses no withdrawal that was published before.
    """

    def __init__(self, settings: Settings, heartbeat: Heartbeat, metrics: Metrics) -> None:
        self._settings = settings
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._view = WithdrawalsView()
        self.movies: frozenset[int] = frozenset()
        """A new set after every change: a batch takes it once, and keeps it to its end."""
        self._reading = threading.Lock()  # the reader is for one thread at a time
        self._stopping = threading.Event()
        self._failure = Failure()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._reader = CompactedReader(
            self._settings, self._settings.names.withdrawals, "withdrawals", self._view.apply
        )
        self._thread = start_vital("withdrawals", self._run, self._failure.note)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join(2.0)

    def read_to_end(self) -> None:
        """Read every withdrawal that was acknowledged before this call.

        Raises:
            UnreachableError: Kafka does not answer; repeat the call before an event is taken.
            SettingsError, FatalKafkaError: as `CompactedReader.poll`.
        """
        with self._reading:
            self._reader.read_to_end(_READ_SECONDS)
            self._apply()

    @property
    def undecodable(self) -> str | None:
        """The reason why withdrawals are not followed any more, a sentence."""
        return self._reader.undecodable

    def raise_failure(self) -> None:
        """Raise in this thread the error that ended the thread that follows."""
        self._failure.raise_noted()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_FOLLOW_SECONDS):
                with self._reading:
                    self._reader.poll(0)
                    self._apply()
        finally:
            self._reader.close()

    def _apply(self) -> None:
        """Apply the records that were read, and only then report their position."""
        if self._reader.position == self._heartbeat.withdrawals:
            return
        movies = frozenset(self._view.movies)
        if movies != self.movies:
            log.info("%d movies are withdrawn", len(movies))
            self.movies = movies
            self._metrics.withdrawn.set(len(movies))
        self._heartbeat.withdrawals = self._reader.position
