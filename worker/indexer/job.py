"""A piece of the indexer's work in a thread of its own, which asks the main thread for everything on Kafka."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from schemas.releases import ReleasesView
from worker.errors import AbandonedError
from worker.indexer.state import Records
from worker.monitoring.threads import start_vital

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1  # how often a waiting job looks whether it is still wanted


@dataclass
class Request:
    """Records to be committed; with `done`, together with the place after the command."""

    records: Records
    done: bool
    answer: "Future[ReleasesView]" = field(default_factory=Future)


class Job:
    """The way between the thread that works and the thread that owns the Kafka clients."""

    def __init__(self, name: str, work: Callable[["Job"], None]) -> None:
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.failure: BaseException | None = None
        self.done = False
        self._work = work
        self._abandoned = threading.Event()
        self._name = name
        self._thread: threading.Thread | None = None

    # For the main thread.

    def start(self) -> None:
        self._thread = start_vital(self._name, self._run, self._failed)

    @property
    def ended(self) -> bool:
        return not (self._thread and self._thread.is_alive()) and self.requests.empty()

    def abandon(self, seconds: float) -> None:
        """Nobody wants the result any more; wait for the thread, unless it is inside a call that takes longer."""
        self._abandoned.set()
        if self._thread:
            self._thread.join(seconds)

    # For the job's own thread.

    def publish(self, records: Records, *, done: bool = False) -> ReleasesView:
        """Commit records in one transaction; gives the view after it.

        Raises:
            AbandonedError: they were not committed, or nobody knows, and another term begins again from what Kafka holds.
        """
        self.check()
        request = Request(records, done)
        self.requests.put(request)
        while True:
            try:
                view = request.answer.result(_LOOK_SECONDS)
            except TimeoutError:
                self.check()
            else:
                self.done = self.done or done
                return view

    def wait(self, seconds: float) -> None:
        """Raises AbandonedError as soon as nobody wants the result."""
        self._abandoned.wait(seconds)
        self.check()

    def check(self) -> None:
        if self._abandoned.is_set():
            raise AbandonedError

    def _run(self) -> None:
        try:
            self._work(self)
        except AbandonedError:
            log.info("%s was abandoned", self._name)

    def _failed(self, failure: BaseException) -> None:
        self.failure = failure  # raised again in the main thread
