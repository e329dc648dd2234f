"""The loop of a worker, from poll to commit: one thread polls; the pipeline answers and publishes.

The loop reports each change to the session (worker/stream/session.py) and carries out its orders. Polling goes on while
a transaction is under way, and no rebalance callback waits for Kafka.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    Message,
)

from schemas import kafka
from schemas.errors import FatalKafkaError
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.kafka.admin import AdminProcess, Reconciliation
from worker.monitoring.failpoints import failpoint
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.statistics import Statistics
from worker.monitoring.threads import guarded
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream.changes import Changes
from worker.stream.crashes import Rehearsals
from worker.stream.ends import Tails
from worker.stream.offsets import Positions
from worker.stream.partitions import Partitions
from worker.stream.pipeline import Pipeline
from worker.stream.polling import ClientErrors, Polling
from worker.stream.publisher import Publisher
from worker.stream.session import Change, Member, Phase, Session
from worker.stream.topic_state import Growth, Origin
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# A commit that waits for the brokers holds its batch for seconds; the partitions are paused only after this, because
# a resume drops the prefetched events.
ROOM_SECONDS = 1.0
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
            metrics,
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
        self._changes = Changes(
            self._session,
            self._polling,
            self._partitions,
            self._positions,
            self._pipeline,
            self._publisher,
            self._statistics,
            stopping,
        )

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
            on_assign=self._changes.on_assign,
            on_revoke=self._changes.on_revoke,
            on_lost=self._changes.on_lost,
        )

    def _leave(self) -> None:
        """1. Finish the batches in flight. 2. Leave the group. 3. End the threads, or the process where a thread hangs."""
        self._changes.apply(Change.STOP if self._stopping.is_set() else Change.FAILED)
        if not self._pipeline.drain(self._settings.worker.stop_timeout_s):
            self._changes.apply(Change.UNFINISHED)
        self._changes.note_member()
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
        self._changes.leave_hung_call()
        self._look_for_changes()
        # 3. While a rewind lasts, drop events.
        if self._session.phase is Phase.REWINDING:
            self._rewind()
            return
        # 4. Assign partitions whose positions are known, and poll.
        if not self._polling.taken:
            self._changes.apply_room()  # the events that waited for room were dropped, or handed over at a revoke
            self._polling.take_read_aside()
        self._partitions.resolve()
        self._poll()
        self._changes.note_member()
        if not self._has_work():
            self._tails.look()
        # 5. Hand a batch over once it is due.
        trigger = self._polling.due(self._pipeline)
        if trigger and self._session.takes_events and self._has_room():
            self._changes.hand_over(trigger)

    def _look_for_changes(self) -> None:
        self._changes.apply_abort()
        if self._reconciliation and self._reconciliation.missed(self._statistics.coordinator_timeouts):
            self._member.unsubscribe()
            self._subscribe()
        if self._partitions.recreated():
            self._changes.apply(Change.RECREATED)

    def _has_work(self) -> bool:
        return (
            bool(self._polling.taken)
            or self._session.phase is Phase.REWINDING
            or bool(self._session.assignment)
            or self._pipeline.in_flight > 0
        )

    def _poll(self) -> None:
        self._polling.poll(asking=self._partitions.asking, answers_at_once=self._pipeline.answers_at_once)

    def _has_room(self) -> bool:
        """Whether the pipeline takes a batch now; while it does not, polling keeps the membership."""
        paused = self._session.phase is Phase.PAUSED
        if self._pipeline.wait_for_room(0.0 if paused else ROOM_SECONDS):
            self._changes.apply_room()
            return True
        if not paused:
            self._changes.apply(Change.FULL)
        self._polling.poll_paused()
        return False

    def _rewind(self) -> None:
        """Drop events until no batch is in flight: a commit must have ended before the committed offsets are read."""
        self._polling.drop()
        if self._pipeline.drain(0.0):
            self._changes.note_member()
            self._health.set("publish", None)
            self._changes.apply(Change.DRAINED)
        elif self._pipeline.waits_for:
            self._health.set("publish", self._pipeline.waits_for)

    def _on_lost_offset(self, message: Message, error: KafkaError) -> None:
        if self._partitions.skip_lost(message, error) == "recreated":
            self._changes.apply(Change.RECREATED)
