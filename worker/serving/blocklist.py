"""The movies that are withdrawn, as this worker knows them: read to the end before it takes events, and followed."""

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

# A change is known within this and a fetch; the promise is a second.
_FOLLOW_SECONDS = 0.1
_READ_SECONDS = 2.0


class Blocklist:
    """Follows the topic in a thread of its own; `movies` is what a batch leaves out.

    What is published between the reading of a withdrawal and `read_to_end` of the next assignment is not missed: the
    partitions of events come after their withdrawals were read, at the start as after any rebalance.
    """

    def __init__(self, settings: Settings, heartbeat: Heartbeat, metrics: Metrics) -> None:
        self._settings = settings
        self._heartbeat = heartbeat
        self._metrics = metrics
        self._view = WithdrawalsView()
        self.movies: frozenset[int] = frozenset()
        """A new set at every change: a batch takes it once, and keeps it to its end."""
        self._reading = threading.Lock()  # the reader takes one thread at a time
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
        """Know every withdrawal that was acknowledged before this call.

        Raises:
            UnreachableError: Kafka does not answer; to be repeated, before any event is taken.
            SettingsError, FatalKafkaError: as `CompactedReader.poll`.
        """
        with self._reading:
            self._reader.read_to_end(_READ_SECONDS)
            self._take()

    @property
    def undecodable(self) -> str | None:
        """Why withdrawals are not followed any more, as a sentence."""
        return self._reader.undecodable

    def raise_failure(self) -> None:
        """Raise in this thread what ended the following of withdrawals."""
        self._failure.raise_noted()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_FOLLOW_SECONDS):
                with self._reading:
                    self._reader.poll(0)
                    self._take()
        finally:
            self._reader.close()

    def _take(self) -> None:
        """Make what was read count, and only then tell of it."""
        if self._reader.position == self._heartbeat.withdrawals:
            return
        movies = frozenset(self._view.movies)
        if movies != self.movies:
            log.info("%d movies are withdrawn", len(movies))
            self.movies = movies
            self._metrics.withdrawn.set(len(movies))
        self._heartbeat.withdrawals = self._reader.position
