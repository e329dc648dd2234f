"""Batches between poll and commit: answered side by side, published one after another, in order.

    poll ─▶ submit ─▶ answer (threads) ─▶ publish (one thread) ─▶ committed
                                             └─ aborted ─▶ abandon, and the poll thread rewinds

At most `DEPTH` batches are in flight. `abandon` ends the epoch, and a batch of an ended epoch is dropped wherever it is.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from worker.errors import AbandonedError, AbortedError, RefusedError
from worker.events import Answer, Batch, Event, Trigger, report_dead_letters
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.threads import Cancellation, start_vital
from worker.stream.publisher import HalvingPublisher, Publisher, Standstill
from worker.stream.session import Epoch

log = logging.getLogger(__name__)

# Milvus may return two batches together; a third is encoded and the next embedded meanwhile. With two in all, Milvus would idle.
ANSWERERS = 3
# Batches between poll and commit: three are answered, one is published, two wait for that.
DEPTH = 6
# Between two requests for the transactional id, while Kafka does not answer.
RETRY_SECONDS = 0.5

AnswerBatch = Callable[[Sequence[Event], Cancellation], list[Answer]]
_Submitted = tuple[Batch, Future[list[Answer]]]


@dataclass(eq=False)
class _Publishing:
    """A publishing thread, and the number of batches that it publishes."""

    thread: threading.Thread | None = None
    batches: int = 0


class Pipeline:
    """Takes batches from the poll thread; its own threads answer and publish them."""

    def __init__(
        self,
        answer: AnswerBatch,
        last_resort: Callable[[Answer, str], Answer],
        publisher: Publisher,
        metrics: Metrics,
        latest: Latest,
        transaction_bytes: int,
        epoch: Epoch,
    ) -> None:
        self._answer = answer
        self._last_resort = last_resort
        self._publisher = publisher
        self._transaction_bytes = transaction_bytes  # of the events in one that holds several batches
        self._metrics = metrics
        self._latest = latest
        self._epoch = epoch
        self._aborted = threading.Event()
        self._failure: BaseException | None = None
        self._in_flight = 0
        self._answering = 0
        self._changed = threading.Condition()
        self._waiting: deque[_Submitted] = deque()
        self._closing = False
        self._answerers = ThreadPoolExecutor(ANSWERERS, thread_name_prefix="answer")
        self.waits_for = ""  # why nothing can be published for the moment
        self._standstill = Standstill()
        self._publishing = _Publishing()
        self._left: list[_Publishing] = []

    def start(self) -> None:
        publishing = self._publishing
        run, failed = partial(self._run, publishing), partial(self._failed, publishing)
        publishing.thread = start_vital("publish", run, failed)

    # The poll thread calls these.
    @property
    def in_flight(self) -> int:
        """Batches submitted and neither committed nor dropped."""
        return self._in_flight

    @property
    def answering(self) -> int:
        """Batches being answered, or waiting to be; those that wait for their commit are not among them."""
        return self._answering

    @property
    def answers_at_once(self) -> bool:
        """Whether a batch submitted now would be answered at once; the last place is for full batches."""
        return self._answering < ANSWERERS - 1

    def submit(self, events: Sequence[Event], trigger: Trigger, size: int = 0) -> None:
        """Take a batch of `size` bytes; the caller has checked for room, or waits until all batches end."""
        batch = Batch(events, self._epoch.begun, size)
        self._metrics.batches.labels(trigger).inc()
        self._metrics.batch_events.observe(len(events))
        future = self._answerers.submit(self._answer, events, self._epoch.cancellation)
        with self._changed:
            self._in_flight += 1
            self._answering += 1
            self._waiting.append((batch, future))
            self._changed.notify_all()
        future.add_done_callback(self._answered)

    def wait_for_room(self, seconds: float) -> bool:
        """Whether a batch can be submitted, waiting up to `seconds` for it."""
        return self._wait(lambda: self._in_flight < DEPTH, seconds)

    def drain(self, seconds: float) -> bool:
        """Wait until everything in flight is committed or dropped; False if that takes longer."""
        return self._wait(lambda: self._in_flight == 0, seconds)

    def abandon(self) -> None:
        """End the epoch: every batch in flight is dropped, except one that is being committed."""
        with self._changed:
            self._epoch.end()
            self._changed.notify_all()

    def take_aborted(self) -> bool:
        """Whether a transaction aborted since the last call, so that positions must be read back from Kafka."""
        aborted = self._aborted.is_set()
        self._aborted.clear()
        return aborted

    @property
    def standstill(self) -> str | None:
        """The reason that nothing is committed, where that lasts and an operator may have to act."""
        return self._standstill.problem

    def raise_failure(self) -> None:
        """Raise the error that ended the publishing thread."""
        if self._failure is not None:
            raise self._failure

    def leave_behind(self) -> None:
        """Go on in a new thread, with a new producer; the call that hangs keeps the old ones, and its transaction aborts."""
        self._metrics.transactions.labels("undone").inc()
        with self._changed:
            self._left.append(self._publishing)
            self._publishing = _Publishing(batches=self._publishing.batches)
            self._epoch.end()
            self._aborted.set()
            self._publisher.discard()
        self.start()

    @property
    def left_behind(self) -> int:
        """Threads that still hang in a call."""
        self._left = [
            publishing for publishing in self._left if publishing.thread and publishing.thread.is_alive()
        ]
        return len(self._left)

    def close(self, seconds: float) -> bool:
        """End the threads; False where the publishing thread hangs in a call, which only the end of the process ends."""
        self.abandon()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        thread = self._publishing.thread
        if thread is not None:  # None where Kafka refused the transactional id
            thread.join(seconds)
        self._answerers.shutdown(wait=False, cancel_futures=True)
        return thread is None or not thread.is_alive()

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: done() or self._failure is not None, seconds)

    # Called by the pipeline's own threads.

    def _run(self, publishing: _Publishing) -> None:
        # Batches of a thread that was left behind: its producer must be fenced before the poll thread rewinds.
        if publishing.batches:
            self._renew_producer(publishing)
            self._finish(publishing)
        while taken := self._next(publishing):
            try:
                epoch = self._epoch.current
                self._publish(publishing, epoch, self._answers_of(taken, epoch))
            finally:
                self._finish(publishing)

    def _failed(self, publishing: _Publishing, failure: BaseException) -> None:
        """Note the error for the poll thread, which raises it; the error of a thread that was left behind is expected."""
        with self._changed:
            if publishing is self._publishing:
                self._failure = failure
            self._changed.notify_all()
        log.log(logging.DEBUG if self._failure else logging.WARNING, "a publishing thread ended: %s", failure)

    def _finish(self, publishing: _Publishing) -> None:
        """Its batches are committed or dropped, unless another thread has taken them over."""
        with self._changed:
            if publishing is self._publishing:
                self._in_flight -= publishing.batches
                publishing.batches = 0
                self._changed.notify_all()

    def _answered(self, _: Future[list[Answer]]) -> None:
        with self._changed:
            self._answering -= 1
            self._changed.notify_all()

    def _next(self, publishing: _Publishing) -> list[_Submitted]:
        """The next batch once it is answered, and those behind it that are answered by then; none at the end.

        A transaction costs 2 ms on one node and 30 ms on a replicated cluster. Batches that get ready meanwhile share the
        next one, so its size follows from that cost. Its bytes must be delivered in time.
        """
        with self._changed:
            if publishing is not self._publishing:
                return []
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return []
            taken = [self._waiting.popleft()]
        wait([taken[0][1]])
        with self._changed:
            room = self._transaction_bytes - taken[0][0].size
            while self._waiting and self._waiting[0][1].done():
                if (room := room - self._waiting[0][0].size) < 0:
                    break
                taken.append(self._waiting.popleft())
            publishing.batches = len(taken)
        return taken

    def _answers_of(self, taken: Sequence[_Submitted], epoch: int) -> list[Answer]:
        """The answers of the batches of this epoch, in order."""
        answers: list[Answer] = []
        for batch, future in taken:
            with suppress(AbandonedError, CancelledError):
                answers += future.result() if batch.epoch == epoch else []
        return answers

    def _publish(self, publishing: _Publishing, epoch: int, answers: list[Answer]) -> None:
        if answers:
            HalvingPublisher(
                self._last_resort,
                self._standstill,
                attempt=lambda some: self._attempt(publishing, epoch, some),
                wait=lambda seconds: self._may_go_on(publishing, epoch, seconds),
            ).publish(answers)

    def _attempt(self, publishing: _Publishing, epoch: int, answers: Sequence[Answer]) -> None:
        """Publish once; after an abort the poll thread rewinds. Raises RefusedError."""
        started = time.monotonic()
        try:
            positions = self._publisher.publish(answers, lambda: epoch == self._epoch.current)
        except RefusedError:
            self._metrics.transactions.labels("refused").inc()
            raise
        except AbortedError as reason:
            if publishing is not self._publishing:
                return
            log.warning("abort, rewinding to the committed offsets: %s", reason)
            self._metrics.transactions.labels("undone").inc()
            self._standstill.aborted(str(reason))
            self.abandon()
            self._aborted.set()
            self._renew_producer(publishing)
        else:
            self._standstill.committed()
            self._metrics.transactions.labels("committed").inc()
            commit_seconds = self._publisher.calls.seconds("commit_transaction")
            self._metrics.committed(answers, time.monotonic() - started, commit_seconds)
            self._metrics.lag.committed(positions)
            self._latest.committed(answers)
            report_dead_letters(answers)

    def _renew_producer(self, publishing: _Publishing) -> None:
        """Settle the outcome before the committed offsets are read: until then the batches count as in flight."""
        while publishing is self._publishing and not self._closing:
            try:
                self._publisher.start()
                self.waits_for = ""
                return
            except AbortedError as error:
                self.waits_for = f"waiting for the transactional id: {error}"
                log.warning(self.waits_for)
                self._metrics.transactions.labels("undone").inc()
                time.sleep(RETRY_SECONDS)

    def _may_go_on(self, publishing: _Publishing, epoch: int, seconds: float) -> bool:
        """Whether this thread may still publish the batch after a wait, which ends as soon as it may not."""
        with self._changed:
            return not self._changed.wait_for(
                lambda: publishing is not self._publishing or epoch != self._epoch.current or self._closing,
                seconds,
            )
