"""Reports changes to the session and carries out its orders: rebalances, aborts, and calls of librdkafka that hang."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import TopicPartition

from schemas.errors import FatalKafkaError
from worker.events import Trigger
from worker.monitoring.statistics import Statistics
from worker.process import Stopping
from worker.stream.offsets import Positions
from worker.stream.partitions import Partitions, numbers
from worker.stream.pipeline import Pipeline
from worker.stream.polling import Polling
from worker.stream.publisher import TRANSACTION_SECONDS, Publisher
from worker.stream.session import Change, Member, Order, Phase, Session

log = logging.getLogger(__name__)

# For batches in flight when partitions are revoked; the group waits for them.
REVOKE_SECONDS = 10.0
FINISH_LOOK_SECONDS = 0.5
# A call within a transaction returns in its time, but a call of librdkafka does not while a coordinator that it remembers is away.
# A call that is left behind by mistake, on a busy machine, costs no more than an abort.
HUNG_SECONDS = TRANSACTION_SECONDS + 0.4
# Threads and producers that hang so; with more only a new process can go on.
MOST_LEFT_BEHIND = 8


class Changes:
    """Used by the poll thread, in which librdkafka also calls the rebalance callbacks, from consume() and close()."""

    def __init__(
        self,
        session: Session,
        polling: Polling,
        partitions: Partitions,
        positions: Positions,
        pipeline: Pipeline,
        publisher: Publisher,
        statistics: Statistics,
        stopping: Stopping,
    ) -> None:
        self._session = session
        self._polling = polling
        self._partitions = partitions
        self._pipeline = pipeline
        self._publisher = publisher
        self._statistics = statistics
        self._stopping = stopping
        self._orders: dict[Order, Callable[[], None]] = {
            Order.END_EPOCH: pipeline.abandon,
            Order.BEGIN_EPOCH: session.epoch.begin,
            Order.REREAD_POSITIONS: partitions.reread,
            Order.REFRESH_MEMBER: self._refresh_member,
            Order.FIND_LEADERS: positions.expect_others,
            Order.PAUSE: partitions.pause,
            Order.RESUME: partitions.resume,
        }
        self._member_changed = True  # since the publisher read the group metadata

    def apply(self, change: Change) -> None:
        """Report a change to the session, and carry out its orders."""
        before = self._session.phase
        transition = self._session.apply(change)
        if transition.phase is not before:
            often = {before, transition.phase} == {Phase.RUNNING, Phase.PAUSED}
            log.log(
                logging.DEBUG if often else logging.INFO,
                "session %s (%s): %s",
                transition.phase,
                change,
                transition.reason,
            )
        for order in transition.orders:
            self._orders[order]()

    def apply_abort(self) -> None:
        """Report an abort of the publishing thread, if there was one."""
        if self._pipeline.take_aborted():
            self.apply(Change.ABORTED)

    def apply_room(self) -> None:
        """Report room in the pipeline, if the partitions are paused."""
        if self._session.phase is Phase.PAUSED:
            self.apply(Change.ROOM)

    def note_member(self) -> None:
        """Let the publisher read the group metadata where it may have changed."""
        changed, self._member_changed = self._member_changed, False
        self._publisher.note_member(regrouped=changed)

    def leave_hung_call(self) -> None:
        """Leave a call behind that lasts although brokers are within reach (librdkafka issue 5456).

        Raises:
            FatalKafkaError: too many calls hang.
        """
        call, seconds = self._publisher.calls.longest()
        if call == "init_transactions" or min(seconds, self._statistics.reachable_seconds) <= HUNG_SECONDS:
            return
        if self._pipeline.left_behind >= MOST_LEFT_BEHIND:
            raise FatalKafkaError(
                f"{call} hangs since {seconds:.1f} s although Kafka is there, and so do others; a new process can go on"
            )
        log.warning(
            "%s hangs since %.1f s although Kafka is there: going on without it, with a new producer",
            call,
            seconds,
        )
        self._pipeline.leave_behind()

    def hand_over(self, trigger: Trigger) -> None:
        """Hand the next batch to the pipeline."""
        events, size = self._polling.taken.next_batch()
        self._pipeline.submit(events, trigger, size)

    def on_assign(self, member: Member, partitions: list[TopicPartition]) -> None:
        """Only note the partitions. The client is assigned none yet, but expects a call: else it assigns all by itself."""
        self._partitions.assigned(partitions)
        member.incremental_assign([])
        self.apply(Change.ASSIGNED)

    def on_revoke(self, _member: Member, partitions: list[TopicPartition]) -> None:
        """1. Hand events over. 2. Finish the batches in flight, or drop them. 3. Report. 4. Let the partitions go."""
        stopping = self._stopping.is_set()
        while self._polling.taken and self._session.takes_events and not stopping:
            self.hand_over("revoked")
        if not self._finished(0.0 if stopping else REVOKE_SECONDS):
            log.warning(
                "rebalance: batches in flight did not end in time; the next owner answers their events"
            )
            self.apply(Change.UNFINISHED)
        self.apply_abort()
        self.apply(Change.REVOKED)
        self.note_member()
        # The marks stay where a commit's outcome is unknown, or an error ends this process.
        self._partitions.drop(partitions, in_order=self._session.is_certain)
        log.info("revoked %s", numbers(partitions))

    def on_lost(self, _member: Member, partitions: list[TopicPartition]) -> None:
        """Drop the batches in flight, and let the partitions go."""
        self.apply(Change.LOST)
        self._partitions.drop(partitions)
        log.warning("lost %s", numbers(partitions))

    def _refresh_member(self) -> None:
        self._member_changed = True

    def _finished(self, seconds: float) -> bool:
        """Whether the batches in flight end in time; a call that hangs is left behind meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._pipeline.drain(min(seconds, FINISH_LOOK_SECONDS)):
            if time.monotonic() >= deadline:
                return False
            self.leave_hung_call()
        return True
