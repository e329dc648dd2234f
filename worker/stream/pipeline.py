"""Batches between poll and commit: answered side by side, published one after another, in order.

    poll ─▶ submit ─▶ answer (threads) ─▶ publish (one thread) ─▶ committed
                                             └─ undone ─▶ abandon, and the poll rewinds

At most `DEPTH` batches are in flight. A batch carries the epoch of its assignment; `abandon` ends the epoch, and a batch of an
ended epoch is dropped wherever it is.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass

from worker.errors import AbandonedError, AbortedError, RefusedError
from worker.events import Answer, Batch, Event, Trigger, report_dead_letters
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.threads import Cancellation, start_vital
from worker.stream.publisher import Publisher, SinglePublisher, Standstill
from worker.stream.session import Epoch

log = logging.getLogger(__name__)

# Two are searched for in Milvus, which may give both back together, while a third is encoded and the next embedded: with
# two in all, Milvus has nothing to do meanwhile.
ANSWERERS = 3
# Batches between poll and commit: those being answered, one being published, two ready to be.
DEPTH = 6
# Between two questions for a transactional id, while Kafka does not answer.
RETRY_SECONDS = 0.5

AnswerBatch = Callable[[Sequence[Event], Cancellation], list[Answer]]
LastResort = Callable[[Answer, str], Answer]
_Submitted = tuple[Batch, Future[list[Answer]]]


@dataclass(eq=False)
class _Hands:
    """A publishing thread, and how many batches it has in them."""

    thread: threading.Thread | None = None
    taken: int = 0


class Pipeline:
    """Takes batches from the poll thread; its own threads answer and publish them."""

    def __init__(
        self,
        answer: AnswerBatch,
        last_resort: LastResort,
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
        self._undone = threading.Event()
        self._failure: BaseException | None = None
        self._in_flight = 0
        self._answering = 0
        self._changed = threading.Condition()
        self._waiting: deque[_Submitted] = deque()
        self._closing = False
        self._answerers = ThreadPoolExecutor(ANSWERERS, thread_name_prefix="answer")
        self.waits_for = ""  # why nothing can be published for the moment
        self._standstill = Standstill()
        self._hands = _Hands()
        self._left: list[_Hands] = []

    def start(self) -> None:
        hands = self._hands
        hands.thread = start_vital(
            "publish", lambda: self._run(hands), lambda failure: self._failed(hands, failure)
        )

    # Called by the poll thread.

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
        """Whether a batch submitted now would be answered now, and not wait behind others; the last place is for full ones."""
        return self._answering < ANSWERERS - 1

    def submit(self, events: Sequence[Event], trigger: Trigger, size: int = 0) -> None:
        """Take a batch of `size` bytes; the caller has seen that there is room, or waits for all of it to end."""
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

    def take_undone(self) -> bool:
        """Whether something was undone since the last call: the positions must be read back from Kafka."""
        undone = self._undone.is_set()
        self._undone.clear()
        return undone

    @property
    def standstill(self) -> str | None:
        """Why nothing is committed, where that lasts and a person may have to mend it."""
        return self._standstill.problem

    def raise_failure(self) -> None:
        """Raise in this thread what ended the publishing thread."""
        if self._failure is not None:
            raise self._failure

    def leave_behind(self) -> None:
        """Go on in a new thread, with a new producer; the call that hangs keeps the old ones, and is undone."""
        self._metrics.transactions.labels("undone").inc()
        with self._changed:
            self._left.append(self._hands)
            self._hands = _Hands(taken=self._hands.taken)
            self._epoch.end()
            self._undone.set()
            self._publisher.discard()
        self.start()

    @property
    def left_behind(self) -> int:
        """Threads that still hang in a call."""
        self._left = [hands for hands in self._left if hands.thread and hands.thread.is_alive()]
        return len(self._left)

    def close(self, seconds: float) -> bool:
        """End the threads; False if publishing hangs in a call and must be left to the process's end."""
        self.abandon()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        thread = self._hands.thread
        if thread is not None:  # it never began where Kafka refused the transactional id
            thread.join(seconds)
        self._answerers.shutdown(wait=False, cancel_futures=True)
        return thread is None or not thread.is_alive()

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: done() or self._failure is not None, seconds)

    # Called by the pipeline's own threads.

    def _run(self, hands: _Hands) -> None:
        # Of one that was left behind: what it may still do is to be fenced before anybody goes on.
        if hands.taken:
            self._start_anew(hands)
            self._put_down(hands)
        while taken := self._next(hands):
            try:
                epoch = self._epoch.current
                self._publish(hands, epoch, self._answers_of(taken, epoch))
            finally:
                self._put_down(hands)

    def _failed(self, hands: _Hands, failure: BaseException) -> None:
        """Have the poll thread raise it, which ends the process; of one that was left behind nothing else is expected."""
        with self._changed:
            if hands is self._hands:
                self._failure = failure
            self._changed.notify_all()
        log.log(logging.DEBUG if self._failure else logging.WARNING, "a publishing thread ended: %s", failure)

    def _put_down(self, hands: _Hands) -> None:
        """What it had in its hands is committed or dropped, unless another thread has taken that over."""
        with self._changed:
            if hands is self._hands:
                self._in_flight -= hands.taken
                hands.taken = 0
                self._changed.notify_all()

    def _answered(self, _: Future[list[Answer]]) -> None:
        with self._changed:
            self._answering -= 1
            self._changed.notify_all()

    def _next(self, hands: _Hands) -> list[_Submitted]:
        """The next batch once it is answered, and those behind it that are answered by then; none at the end.

        A transaction's fixed cost is 2 ms on one node and 30 ms on a replicated cluster: while it lasts, more batches
        get ready, so what one transaction holds follows from what the last one cost. Its bytes must be delivered in time.
        """
        with self._changed:
            if hands is not self._hands:
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
            hands.taken = len(taken)
        return taken

    def _answers_of(self, taken: Sequence[_Submitted], epoch: int) -> list[Answer]:
        """The answers of the batches that are still ours, in order."""
        answers: list[Answer] = []
        for batch, future in taken:
            with suppress(AbandonedError, CancelledError):
                answers += future.result() if batch.epoch == epoch else []
        return answers

    def _publish(self, hands: _Hands, epoch: int, answers: list[Answer]) -> None:
        if not answers:
            return
        try:
            self._attempt(hands, epoch, answers)
        except RefusedError as refusal:
            if len(answers) > 1:  # halve what is refused, down to the event
                middle = len(answers) // 2
                self._publish(hands, epoch, answers[:middle])
                self._publish(hands, epoch, answers[middle:])
            else:
                self._publish_alone(hands, epoch, answers[0], refusal)

    def _attempt(self, hands: _Hands, epoch: int, answers: Sequence[Answer]) -> None:
        """Publish once; what is undone is left to the rewind. Raises RefusedError."""
        started = time.monotonic()
        try:
            positions = self._publisher.publish(answers, lambda: epoch == self._epoch.current)
        except RefusedError:
            self._metrics.transactions.labels("refused").inc()
            raise
        except AbortedError as reason:
            if hands is not self._hands:
                return
            log.warning("going back to the committed offsets: %s", reason)
            self._metrics.transactions.labels("undone").inc()
            self._standstill.aborted(str(reason))
            self.abandon()
            self._undone.set()
            self._start_anew(hands)
        else:
            self._standstill.committed()
            self._metrics.transactions.labels("committed").inc()
            commit_seconds = self._publisher.calls.seconds("commit_transaction")
            self._metrics.committed(answers, time.monotonic() - started, commit_seconds)
            self._metrics.lag.committed(positions)
            self._latest.committed(answers)
            report_dead_letters(answers)

    def _start_anew(self, hands: _Hands) -> None:
        """Have the outcome settled before the committed offsets are read: until then this thread has its batches in hand."""
        while hands is self._hands and not self._closing:
            try:
                self._publisher.start()
                self.waits_for = ""
                return
            except AbortedError as error:
                self.waits_for = f"Kafka has not given us our transactional id yet: {error}"
                log.warning(self.waits_for)
                self._metrics.transactions.labels("undone").inc()
                time.sleep(RETRY_SECONDS)

    def _publish_alone(self, hands: _Hands, epoch: int, answer: Answer, refusal: RefusedError) -> None:
        single = SinglePublisher(self._last_resort, self._standstill)
        single.publish(
            answer,
            refusal,
            attempt=lambda one: self._attempt(hands, epoch, [one]),
            wait=lambda seconds: self._stays_ours(hands, epoch, seconds),
        )

    def _stays_ours(self, hands: _Hands, epoch: int, seconds: float) -> bool:
        """Whether this thread may go on with a batch after a wait, which ends as soon as it may not."""
        with self._changed:
            return not self._changed.wait_for(
                lambda: hands is not self._hands or epoch != self._epoch.current or self._closing,
                seconds,
            )
