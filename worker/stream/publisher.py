"""Publishes results, dead letters and the offsets after their events, in one transaction.

`publish` runs in the publishing thread, `note_member` in the poll thread: the client lets one thread at a time into a consumer,
so another one would wait for a pause in the polling that never comes.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, TopicPartition

from schemas import kafka
from schemas.dead_letter import Reason
from schemas.settings import Settings
from worker.errors import AbortedError, RefusedError
from worker.events import Answer, positions_after, source_of
from worker.kafka.producer import TransactionalProducer

log = logging.getLogger(__name__)

# A call within a transaction. A broker that is cut off is replaced after 2 to 5 s, and a new producer and the rewind take 2 to
# 3 s more: with two calls left, no partition may stop for 10 s.
TRANSACTION_SECONDS = 4.0
# The interval of looking up the group metadata in a group of KIP-848, whose epoch changes without a callback.
NOTE_SECONDS = 0.1
# Between two attempts with a record that is refused until an operator changes the topic.
REFUSED_RETRY_SECONDS = 3.0
# Aborts without a commit between them are a standstill after so long; one that is older than the second is over.
_LASTING_SECONDS = 5.0
_RECENT_SECONDS = 10.0


class Publisher(TransactionalProducer):
    """The worker's transactional producer."""

    def __init__(self, settings: Settings, worker_id: str, consumer: Consumer) -> None:
        config = kafka.transactional_producer(
            settings.kafka,
            settings.names.worker_transactional_id(worker_id),
            settings.worker.transaction_timeout_ms,
        )
        super().__init__(config, TRANSACTION_SECONDS)
        self._unanswered_seconds = float(config["socket.timeout.ms"]) / 1_000
        self._consumer = consumer
        self._group: object = None
        self._note_seconds = NOTE_SECONDS if settings.worker.group_protocol == "consumer" else math.inf
        self._noted_at = 0.0

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]:
        """Commit the records of events and the offsets after them, which are returned, or nothing.

        Raises:
            AbortedError: nothing was committed, or the outcome is unknown: rewind.
            RefusedError: nothing was committed, because a record was refused.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        self.start()
        # 1. Take producer and group metadata before checking the assignment: where it is lost in between, the broker refuses
        #    both as stale.
        transaction, group = self.transaction(), self._group
        if not is_ours():
            raise AbortedError("the partitions were lost before publishing")
        offsets = positions_after(answer.event for answer in answers)
        with transaction as opened:
            # 2. Produce results and dead letters, then the offsets after their events.
            opened.produce(answer.record for answer in answers)
            opened.send_offsets(offsets, group)
            # 3. Commit at the end of the block.
        if opened.commit_seconds >= self._unanswered_seconds:
            # 4. Committed, after some broker had not answered: a producer that remembers it would hold up the next transaction.
            self.throw_away(opened)
        return offsets

    def note_member(self, *, regrouped: bool) -> None:
        """Look up the group metadata: after the last poll changed it, and before anything of that poll is published.

        The client answers from its own thread while this one holds the interpreter's lock: asked ten times a second, a fifth of
        all the time in which the lock is held. So it is asked after a rebalance or an abort, and at intervals only where KIP-848
        changes the epoch without a callback. Stale metadata is safe: the broker refuses it, and the transaction aborts.

        A member that was just evicted has an empty member id, and the broker accepts offsets from an empty id: so the metadata
        from before is kept, which the broker refuses.
        """
        now = time.monotonic()
        if not regrouped and self._group is not None and now < self._noted_at + self._note_seconds:
            return
        self._noted_at = now
        group = self._consumer.consumer_group_metadata()
        if self._consumer.memberid():
            self._group = group


class Standstill:
    """The reason that nothing is committed, once that lasts. One thread writes; any reads."""

    def __init__(self) -> None:
        self._refused: str | None = None
        self._aborted = ""
        self._since, self._last = math.inf, -math.inf

    def refused(self, why: str | None) -> bool:
        """Note that a record waits for a change of its topic, or (None) waits no longer; whether that is new."""
        new, self._refused = why != self._refused, why
        return new

    def aborted(self, why: str) -> None:
        now = time.monotonic()
        """Note an abort."""
        self._since = min(self._since, now) if now - self._last < _RECENT_SECONDS else now
        self._aborted, self._last = why, now

    def committed(self) -> None:
        """Note a commit."""
        self._since = math.inf

    @property
    def problem(self) -> str | None:
        """A sentence for /health/ready; None while transactions commit."""
        if self._refused:
            return self._refused
        recent = time.monotonic() - self._last < _RECENT_SECONDS
        return self._aborted if recent and self._last - self._since >= _LASTING_SECONDS else None


class HalvingPublisher:
    """Publishes the records of a batch; halves refused ones, down to the event. Used by the publishing thread."""

    def __init__(
        self,
        last_resort: Callable[[Answer, str], Answer],
        standstill: Standstill,
        attempt: Callable[[Sequence[Answer]], None],
        wait: Callable[[float], bool],
    ) -> None:
        """`attempt` publishes, and raises RefusedError; `wait` returns whether the batch may still be published after a wait."""
        self._last_resort = last_resort
        self._standstill = standstill
        self._attempt = attempt
        self._wait = wait

    def publish(self, answers: Sequence[Answer]) -> None:
        """Publish each record, or the dead letter of its event."""
        try:
            self._attempt(answers)
        except RefusedError as refusal:
            if len(answers) > 1:
                middle = len(answers) // 2
                self.publish(answers[:middle])
                self.publish(answers[middle:])
            else:
                self._publish_refused(answers[0], refusal)

    def _publish_refused(self, answer: Answer, refusal: RefusedError) -> None:
        """Publish its dead letter, else that without its value, else all three in turn until a topic takes one."""
        tried = answer
        while True:
            if tried.reason is not Reason.PROCESSING_FAILED or tried.record.value is not None:
                tried = self._last_resort(tried, str(refusal))
            else:
                self._report(tried, refusal)
                if not self._wait(REFUSED_RETRY_SECONDS):
                    break
                tried = answer
            try:
                self._attempt([tried])
                break
            except RefusedError as another:
                refusal = another
        self._standstill.refused(None)

    def _report(self, tried: Answer, refusal: RefusedError) -> None:
        why = (
            f"{tried.record.topic} refuses even a dead letter without the value of {source_of(tried.event)} ({refusal}): "
            f"{refusal.remedy}"
        )
        if self._standstill.refused(why):
            log.error("%s; retrying until it is accepted", why)
