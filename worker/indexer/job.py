"""A job: work of the indexer in its own thread. The main thread owns the Kafka clients and commits for it."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel

from schemas.releases import ReleasesView
from worker.errors import AbandonedError, MilvusError, StoreAwayError
from worker.monitoring.http import Health
from worker.monitoring.threads import start_vital
from worker.monitoring.waiting import Deadline, back_off

log = logging.getLogger(__name__)
T = TypeVar("T")
Records = Mapping[str, BaseModel | None]  # by key; None is a tombstone

_CHECK_SECONDS = 0.1  # how often a waiting job checks whether it is cancelled
_FIRST_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 5.0
# A store that refuses a request forever must not block the commands behind this one.
_STORE_SECONDS = 30.0


@dataclass
class Request:
    """Records to commit; with `done`, in one transaction with the offset after the command."""

    records: Records
    done: bool
    view: "Future[ReleasesView]" = field(default_factory=Future)


class Job:
    """The channel between the thread that works and the main thread."""

    def __init__(self, name: str, work: Callable[["Job"], None], view: ReleasesView, health: Health) -> None:
        self.view = view
        """The releases as of this job's last commit."""
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self._name = name
        self._work = work
        self._health = health
        self._cancelled = threading.Event()
        self._thread: threading.Thread | None = None

    # Called by the main thread.

    def start(self) -> None:
        self._thread = start_vital(self._name, self._run, self._failed)

    @property
    def ended(self) -> bool:
        return not (self._thread and self._thread.is_alive()) and self.requests.empty()

    def cancel(self, seconds: float) -> None:
        """Cancel the job and wait for its thread; a call inside it may take longer than `seconds`."""
        self._cancelled.set()
        if self._thread:
            self._thread.join(seconds)

    # Called by the job's thread. Each method raises AbandonedError once the job is cancelled.

    def publish(self, records: Records, *, done: bool = False) -> None:
        """Commit records in one transaction, then read the view again.

        AbandonedError also follows a commit that failed or has an unknown outcome.
        """
        self.check()
        request = Request(records, done)
        self.requests.put(request)
        while True:
            try:
                self.view = request.view.result(_CHECK_SECONDS)
                return
            except TimeoutError:
                self.check()

    def ask_milvus(self, call: Callable[[], T]) -> T:
        """Retry a call for as long as Milvus is away; /health/ready names the reason."""
        return self._retry("milvus", MilvusError, call, float("inf"))

    def ask_store(self, call: Callable[[], T]) -> T:
        """Retry a call while the store is away.

        Raises:
            StoreAwayError: the store was away for too long.
            ReleaseError: raised by the call, and not retried.
        """
        return self._retry("store", StoreAwayError, call, _STORE_SECONDS)

    def check(self) -> None:
        if self._cancelled.is_set():
            raise AbandonedError

    def _retry(self, part: str, away: type[Exception], call: Callable[[], T], seconds: float) -> T:
        pauses, deadline = back_off(_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS), Deadline(seconds)
        while True:
            try:
                result = call()
            except away as error:
                expired = deadline.passed
                self._health.set(part, None if expired else str(error))
                if expired:
                    raise
                log.warning("waiting for %s: %s", part, error)
            else:
                self._health.set(part, None)
                self.check()
                return result
            self._cancelled.wait(next(pauses))
            self.check()

    def _run(self) -> None:
        try:
            self._work(self)
        except AbandonedError:
            log.info("job %s is cancelled", self._name)

    def _failed(self, failure: BaseException) -> None:
        self.failure = failure  # the main thread raises it
