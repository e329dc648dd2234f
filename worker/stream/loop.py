"""The loop of a worker, from poll to commit: one thread polls; the pipeline answers and publishes.

The loop reports each change to the session (worker/stream/session.py) and carries out its orders. Polling goes on while
a transaction is under way, and no rebalance callback waits for Kafka.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas import kafka
from schemas.errors import FatalKafkaError, UnreachableError
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.events import Trigger, partition_of
from worker.kafka.admin import AdminProcess, Reconciliation
from worker.kafka.errors import raise_if_final
from worker.monitoring.failpoints import failpoint
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.statistics import Statistics
from worker.monitoring.threads import guarded
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream.crashes import Rehearsals
from worker.stream.ends import Tails
from worker.stream.offsets import Positions
from worker.stream.partitions import Partitions, numbers
from worker.stream.pipeline import Pipeline
from worker.stream.polling import ClientErrors, Polling
from worker.stream.publisher import TRANSACTION_SECONDS, Publisher
from worker.stream.session import Change, Member, Order, Phase, Session
from worker.stream.topic_state import Growth, Origin
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# A commit that waits for the brokers holds its batch for seconds; the partitions are paused only after this, because
# a resume drops the prefetched events.
ROOM_SECONDS = 1.0
# For batches in flight when partitions are revoked; the group waits for them.
REVOKE_SECONDS = 10.0
FINISH_LOOK_SECONDS = 0.5
# A call within a transaction returns in its time, but a call of librdkafka does not while a coordinator that it remembers is away.
# A call that is left behind by mistake, on a busy machine, costs no more than an abort.
HUNG_SECONDS = TRANSACTION_SECONDS + 0.4
# Threads and producers that hang so; with more only a new process can go on.
MOST_LEFT_BEHIND = 8

HUNG_EXIT_CODE = FatalKafkaError.exit_code


class Stream:
    """Consumes `profiles` until it is stopped; the result of each event is committed once."""

    def __init__(
        self,
        settings: Settings,
        worker_id: str,
        answerer: Answerer,
        raise_failure: Callable[[], None],
        before_taking: Callable[[], None],
        health: Health,
        metrics: Metrics,
        latest: Latest,
        stopping: Stopping,
        connect: Callable[[kafka.Config], Any] = Consumer,
    ) -> None:
        """`raise_failure` raises the failure of a part that the worker needs; `before_taking` is called for each assignment."""
        self._settings = settings
        self._raise_failure = raise_failure
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._session = Session()
        self._client_errors = ClientErrors(settings, health)
        self._statistics = Statistics(settings.names.profiles, health, metrics, self._has_work)
        self._member: Member = connect(
            kafka.worker_consumer(
                settings,
                {
                    "error_cb": self._client_errors.on_error,
                    "stats_cb": guarded("statistics", self._statistics.read),
                    "statistics.interval.ms": 2_000,
                },
            )
        )
        # A client lets one thread at a time in, so the thread that asks for offsets has its own.
        asker = connect(kafka.reader(settings.kafka, settings.names.worker_group))
        self._admin = AdminProcess()
        self._publisher = Publisher(settings, worker_id, cast(Consumer, self._member))
        batch_bytes = settings.worker.batch_max_mb * 2**20
        self._pipeline = Pipeline(
            answerer.answer,
            answerer.last_resort,
            self._publisher,
            metrics,
            latest,
            batch_bytes,
            self._session.epoch,
        )
        unreadable = Unreadable(settings, self._member, health, metrics)
        rehearsals = Rehearsals(settings, metrics)
        origin = Origin(settings, self._admin)
        self._positions = Positions(settings, asker, origin)
        self._partitions = Partitions(
            settings,
            self._member,
            self._session.assignment,
            self._positions,
            Growth(settings, self._admin, self._publisher.refresh_partitions),
            unreadable,
            rehearsals,
            origin,
            before_taking,
            health,
            metrics.lag,
        )
        self._polling = Polling(
            settings, self._member, unreadable, rehearsals, health, metrics, self._on_lost_offset
        )
        self._tails = Tails(settings, self._member, metrics.lag)
        self._reconciliation = (
            Reconciliation(settings, cast(Consumer, self._member), lambda: set(self._session.assignment))
            if settings.worker.group_protocol == "consumer"
            else None
        )
        self._orders: dict[Order, Callable[[], None]] = {
            Order.END_EPOCH: self._pipeline.abandon,
            Order.BEGIN_EPOCH: self._session.epoch.begin,
            Order.REREAD_POSITIONS: self._partitions.reread,
            Order.REFRESH_MEMBER: self._refresh_member,
            Order.FIND_LEADERS: self._positions.expect_others,
            Order.PAUSE: self._partitions.pause,
            Order.RESUME: self._partitions.resume,
        }
        self._member_changed = True  # since the publisher read the group metadata

    def run(self) -> None:
        """Consume until `stopping` is set, then leave the group.

        Raises:
            FatalKafkaError, SettingsError: only a new process, or a person, can go on.
        """
        try:
            self._join()
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._leave()

    def _join(self) -> None:
        """Fence a predecessor before any position is read: its open transaction ends by that."""
        while not self._stopping.is_set():
            self._health.turn()
            try:
                self._publisher.start()
                break
            except AbortedError as error:
                self._health.set("publish", f"waiting for the transactional id: {error}")
                self._stopping.wait(1.0)
        self._health.set("publish", None)
        self._pipeline.start()
        self._subscribe()
        self._health.begun()

    def _subscribe(self) -> None:
        self._member.subscribe(
            [self._settings.names.profiles],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _leave(self) -> None:
        """1. Finish the batches in flight. 2. Leave the group. 3. End the threads, or the process where a thread hangs."""
        self._apply(Change.STOP if self._stopping.is_set() else Change.FAILED)
        if not self._pipeline.drain(self._settings.worker.stop_timeout_s):
            self._apply(Change.UNFINISHED)
        self._settle()
        self._polling.close()
        self._member.close()
        self._admin.close()
        if self._reconciliation:
            self._reconciliation.close()
        self._partitions.close()
        self._tails.close()
        if not self._pipeline.close(seconds=1.0):
            call, seconds = self._publisher.calls.longest()
            log.error(
                "%s hangs since %.0f s; ending without it, its transaction will be aborted", call, seconds
            )
            logging.shutdown()
            os._exit(0 if self._stopping.is_set() else HUNG_EXIT_CODE)

    def _turn(self) -> None:
        failpoint("before-poll")
        # 1. End where a part has failed.
        self._health.turn()
        self._pipeline.raise_failure()
        self._raise_failure()
        self._client_errors.raise_refusal()
        self._health.set("records", self._pipeline.standstill)
        # 2. Report changes, while nothing is polled.
        self._watch_calls()
        self._look_for_changes()
        # 3. While a rewind lasts, drop events.
        if self._session.phase is Phase.REWINDING:
            self._rewind()
            return
        # 4. Assign partitions whose positions are known, and poll.
        if not self._polling.taken:
            self._resume()  # the events that waited for room were dropped, or handed over at a revoke
            self._polling.take_read_aside()
        self._partitions.resolve()
        self._poll()
        self._settle()
        if not self._has_work():
            self._tails.look()
        # 5. Hand a batch over once it is due.
        trigger = self._polling.due(self._pipeline)
        if trigger and self._session.takes_events and self._has_room():
            self._hand_over(trigger)

    def _look_for_changes(self) -> None:
        if self._pipeline.take_aborted():
            self._apply(Change.ABORTED)
        if self._reconciliation and self._reconciliation.missed(self._statistics.coordinator_timeouts):
            self._member.unsubscribe()
            self._subscribe()
        if self._partitions.recreated():
            self._apply(Change.RECREATED)

    def _apply(self, change: Change) -> None:
        """Report a change to the session, and carry out its orders."""
        before = self._session.phase
        transition = self._session.apply(change)
        if transition.phase is not before:
            often = Phase.PAUSED in (before, transition.phase)
            log.log(
                logging.DEBUG if often else logging.INFO,
                "session %s (%s): %s",
                transition.phase,
                change,
                transition.reason,
            )
        for order in transition.orders:
            self._orders[order]()

    def _refresh_member(self) -> None:
        self._member_changed = True

    def _settle(self) -> None:
        changed, self._member_changed = self._member_changed, False
        self._publisher.note_member(regrouped=changed)

    def _has_work(self) -> bool:
        return (
            bool(self._polling.taken)
            or self._session.phase is Phase.REWINDING
            or bool(self._session.assignment)
            or self._pipeline.in_flight > 0
        )

    def _poll(self) -> None:
        self._polling.poll(asking=self._partitions.asking, answers_at_once=self._pipeline.answers_at_once)

    # Handing over.

    def _has_room(self) -> bool:
        """Whether the pipeline takes a batch now; while it does not, polling keeps the membership."""
        paused = self._session.phase is Phase.PAUSED
        if self._pipeline.wait_for_room(0.0 if paused else ROOM_SECONDS):
            self._resume()
            return True
        if not paused:
            self._apply(Change.FULL)
        self._polling.poll_paused()
        return False

    def _resume(self) -> None:
        if self._session.phase is Phase.PAUSED:
            self._apply(Change.ROOM)

    def _hand_over(self, trigger: Trigger) -> None:
        events, size = self._polling.taken.next_batch()
        self._pipeline.submit(events, trigger, size)

    def _rewind(self) -> None:
        """Drop events until no batch is in flight: a commit must have ended before the committed offsets are read."""
        self._polling.drop()
        if self._pipeline.drain(0.0):
            self._settle()
            self._health.set("publish", None)
            self._apply(Change.DRAINED)
        elif self._pipeline.waits_for:
            self._health.set("publish", self._pipeline.waits_for)

    # Calls that hang.

    def _watch_calls(self) -> None:
        """Leave a call behind that lasts although brokers are within reach (librdkafka issue 5456)."""
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

    # Rebalances. librdkafka calls these inside consume() and close(), in the poll thread.

    def _on_assign(self, member: Member, partitions: list[TopicPartition]) -> None:
        """Only note the partitions. The client is assigned none yet, but expects a call: else it assigns all by itself."""
        self._partitions.assigned(partitions)
        member.incremental_assign([])
        self._apply(Change.ASSIGNED)

    def _on_revoke(self, _member: Member, partitions: list[TopicPartition]) -> None:
        """1. Hand events over. 2. Finish the batches in flight, or drop them. 3. Report. 4. Let the partitions go."""
        stopping = self._stopping.is_set()
        while self._polling.taken and self._session.takes_events and not stopping:
            self._hand_over("revoked")
        if not self._finished(0.0 if stopping else REVOKE_SECONDS):
            log.warning(
                "rebalance: batches in flight did not end in time; the next owner answers their events"
            )
            self._apply(Change.UNFINISHED)
        if self._pipeline.take_aborted():
            self._apply(Change.ABORTED)
        self._apply(Change.REVOKED)
        self._settle()
        # The marks stay where a commit's outcome is unknown, or an error ends this process.
        self._partitions.drop(partitions, in_order=self._session.is_certain)
        log.info("revoked %s", numbers(partitions))

    def _finished(self, seconds: float) -> bool:
        """Whether the batches in flight end in time; a call that hangs is left behind meanwhile."""
        deadline = time.monotonic() + seconds
        while not self._pipeline.drain(min(seconds, FINISH_LOOK_SECONDS)):
            if time.monotonic() >= deadline:
                return False
            self._watch_calls()
        return True

    def _on_lost(self, _member: Member, partitions: list[TopicPartition]) -> None:
        self._apply(Change.LOST)
        self._partitions.drop(partitions)
        log.warning("lost %s", numbers(partitions))

    # Lost offsets.

    def _on_lost_offset(self, message: Message, error: KafkaError) -> None:
        """The next event is gone, by retention or with its topic: never skip it silently."""
        if self._may_be_recreated():
            self._apply(Change.RECREATED)
            return
        topic, partition = partition_of(message)
        go_on = self._settings.worker.on_lost_offset
        if go_on == "stop":
            raise FatalKafkaError(
                f"the next event of {topic}-{partition} is gone ({error.str()}): events were removed before they were answered. "
                "Set MARQUEE_WORKER__ON_LOST_OFFSET to earliest or latest to go on past them"
            )
        log.error(
            "the next event of %s-%d is gone (%s); going on at the %s", topic, partition, error.str(), go_on
        )
        self._metrics.lost_offsets.inc()
        offset = OFFSET_BEGINNING if go_on == "earliest" else OFFSET_END
        self._partitions.go_to(TopicPartition(topic, partition, offset))

    def _may_be_recreated(self) -> bool:
        """Whether `profiles` is another topic now, or Kafka does not answer that; then the positions are read again."""
        try:
            return self._partitions.is_recreated()
        except KafkaException as exception:
            raise_if_final(exception.args[0])
        except UnreachableError as error:
            log.info("asking again whether profiles was recreated: %s", error)
        return True
