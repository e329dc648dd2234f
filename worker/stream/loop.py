"""The stream: from poll to commit. One thread polls; the pipeline answers and publishes.

A turn of the loop, in order:

1. end if the pipeline has ended (fenced, refused); leave a call of librdkafka behind that hangs; join the group anew
   where its word was lost;
2. after something was undone, rewind to the committed offsets before taking more; put partitions to work whose positions
   are known by now (worker/stream/assignment.py);
3. poll: wait for one event, then take what is there;
4. hand a batch over once it is due: full, or nothing is being answered, or its first event waited long enough and it
   would be answered at once.

Partitions go in two ways. Revoked: what is in flight is finished first, or dropped if that takes too long. Lost:
they are somebody else's already, so what is in flight is dropped, and the broker refuses what is just being committed.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import cast

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
from schemas.errors import FatalKafkaError, MarqueeError, UnreachableError
from schemas.headers import mended
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.events import Event, PolledEvents, Trigger
from worker.kafka.aside import AdminProcess
from worker.kafka.errors import raise_if_final
from worker.kafka.reconciliation import Reconciliation
from worker.monitoring.failpoints import failpoint
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.statistics import Statistics
from worker.monitoring.threads import guarded
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream.assignment import Assignment
from worker.stream.growth import Growth
from worker.stream.offsets import Positions
from worker.stream.origin import Origin
from worker.stream.pipeline import Pipeline
from worker.stream.publisher import TRANSACTION_SECONDS, Publisher
from worker.stream.rehearsals import Rehearsals
from worker.stream.tails import Tails
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# librdkafka gives the interpreter's lock back every 200 ms of a wait, so there is nothing to win in longer ones.
POLL_SECONDS = 0.1
# While positions are asked for.
ASKING_SECONDS = 0.01
# How often a batch that is being filled looks whether it would be answered at once.
LOOK_SECONDS = 0.002
# A commit that waits for the brokers holds its batch for seconds; only past this the partitions are paused, because
# resuming fetches again what was prefetched.
ROOM_SECONDS = 1.0
# For what is in flight when partitions are revoked; the group waits for it.
REVOKE_SECONDS = 10.0
FINISH_LOOK_SECONDS = 0.5
# A call within a transaction returns in its time, but one of librdkafka's does not while a coordinator that it remembers is away.
# To be left behind by mistake, on a busy machine, costs it no more than an abort.
HUNG_SECONDS = TRANSACTION_SECONDS + 0.4
# Threads and producers that hang so; more, and only a new process can go on.
MOST_LEFT_BEHIND = 8
# The client reports every attempt to connect while a broker is away, some twenty a second.
QUIET_SECONDS = 30.0

HUNG_EXIT_CODE = FatalKafkaError.exit_code


class Stream:
    """Consumes `profiles` until it is stopped; everything that it takes is answered and committed once."""

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
    ) -> None:
        self._settings = settings
        self._raise_failure = raise_failure  # of whatever else the worker cannot do without
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._refusal: MarqueeError | None = None
        self._said_until: dict[int, float] = {}
        self._statistics = Statistics(settings.names.profiles, health, metrics, self._in_hand)
        self._consumer = Consumer(
            kafka.worker_consumer(
                settings,
                {
                    "error_cb": self._on_error,
                    "stats_cb": guarded("statistics", self._statistics.read),
                    "statistics.interval.ms": 2_000,
                },
            )
        )
        self._unreadable = Unreadable(settings, self._consumer, health, metrics)
        self._rehearsals = Rehearsals(settings, metrics)
        self._publisher = Publisher(settings, worker_id, self._consumer)
        # Not the member itself: another thread asks, and the client lets one at a time into a consumer.
        asker = Consumer(kafka.reader(settings.kafka, settings.names.worker_group))
        self._admin = AdminProcess()
        origin = Origin(settings, self._admin)
        self._positions = Positions(settings, asker, origin)
        self._assignment = Assignment(
            settings,
            self._consumer,
            self._positions,
            Growth(settings, self._admin, self._publisher.refresh_partitions),
            self._unreadable,
            self._rehearsals,
            origin,
            before_taking,  # for each assignment; UnreachableError: again
            health,
            metrics.lag,
        )
        self._tails = Tails(settings, self._consumer, metrics.lag)
        self._reconciliation = (
            Reconciliation(settings, self._consumer, lambda: self._assignment.pending)
            if settings.worker.group_protocol == "consumer"
            else None
        )
        batch_bytes = settings.worker.batch_max_mb * 2**20
        self._pipeline = Pipeline(
            answerer.answer, answerer.last_resort, self._publisher, metrics, latest, batch_bytes
        )
        self._taken = PolledEvents(settings.worker.batch_events, batch_bytes)
        self._taken_at = 0.0
        self._rewinding = False
        self._paused = False
        self._failing = False  # an error ends this process
        self._regrouped = True  # since the publisher looked who we are in the group

    def run(self) -> None:
        """Consume until `stopping` is set, then leave the group.

        Raises:
            FatalKafkaError, SettingsError: only a new process, or a person, can go on.
        """
        try:
            self._take_place()
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._leave()

    def _take_place(self) -> None:
        """Fence a predecessor before reading any position: what it left open is settled by that."""
        while not self._stopping.is_set():
            self._health.turn()
            try:
                self._publisher.start()
                break
            except AbortedError as error:
                self._health.set("publish", f"Kafka has not given us our transactional id yet: {error}")
                self._stopping.wait(1.0)
        self._health.set("publish", None)
        self._pipeline.start()
        self._join()
        self._health.begun()

    def _join(self) -> None:
        self._consumer.subscribe(
            [self._settings.names.profiles],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _leave(self) -> None:
        """1. Finish what is in flight. 2. Leave the group. 3. End the threads, or the process where one hangs."""
        self._failing = not self._stopping.is_set()
        self._pipeline.drain(self._settings.worker.stop_timeout_s)
        self._settle()
        self._pipeline.abandon()
        self._taken.clear()
        self._unreadable.close()
        self._consumer.close()
        self._admin.close()
        if self._reconciliation:
            self._reconciliation.close()
        self._rehearsals.close()
        self._assignment.close()
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
        self._health.turn()
        self._pipeline.raise_failure()
        self._raise_failure()
        self._health.set("records", self._pipeline.standstill)
        self._watch_calls()
        if self._refusal:
            raise self._refusal
        if self._pipeline.take_undone():
            self._rewinding = self._regrouped = True  # maybe we are not who we were
            self._positions.expect_others()
        if self._reconciliation and self._reconciliation.missed(self._statistics.coordinator_timeouts):
            self._consumer.unsubscribe()
            self._join()
        if self._assignment.made_anew():
            self._pipeline.abandon()  # what is in flight answers events that are gone
            self._rewinding = True
        if self._rewinding:
            self._rewind()
            return
        if not self._taken:
            self._pause(False)  # nothing waits for room any more: it was dropped, or handed over at a revoke
            self._take(cast(list[Event], self._unreadable.take()))
        self._assignment.resolve(paused=self._paused)
        self._poll()
        self._settle()
        if not self._in_hand():
            self._tails.look()
        trigger = self._due()
        if trigger and self._room():
            self._hand_over(trigger)

    def _in_hand(self) -> bool:
        return (
            bool(self._taken)
            or self._rewinding
            or bool(self._assignment.pending)
            or self._pipeline.in_flight > 0
        )

    def _settle(self) -> None:
        regrouped, self._regrouped = self._regrouped, False
        self._publisher.note_member(regrouped=regrouped)

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

    # Polling.

    def _poll(self) -> None:
        """Wait for one event, then take what is there: `consume(n, timeout)` would wait for all n or the whole timeout."""
        if not self._taken.full:
            first = self._events(self._consumer.consume(1, self._patience()))
            self._take(first)
            if first and (room := self._taken.room):
                self._take(self._events(self._consumer.consume(room, 0)))
        if self._taken:
            failpoint("after-poll")

    def _take(self, events: list[Event]) -> None:
        if events and not self._taken:
            self._taken_at = time.monotonic()
        # By one look at an empty dict, but where an event has ended processes.
        self._taken.add(self._rehearsals.apart(events) if self._rehearsals.condemned else events)

    def _patience(self) -> float:
        """Seconds to wait for the next event: while a batch is being filled it may be due at any moment."""
        if not self._taken:
            return ASKING_SECONDS if self._assignment.asking else POLL_SECONDS
        deadline = self._taken_at + self._settings.worker.batch_deadline_ms / 1_000
        soonest = 0.0 if self._pipeline.answers_at_once else LOOK_SECONDS
        return min(LOOK_SECONDS, max(soonest, deadline - time.monotonic()))

    def _events(self, messages: list[Message]) -> list[Event]:
        if any(message.error() is not None for message in messages):
            messages = self._sound(messages)
        return cast(list[Event], mended(messages, self._metrics.unreadable_headers.inc))

    def _sound(self, messages: list[Message]) -> list[Message]:
        """The records among the messages; each error is dealt with."""
        messages = self._unreadable.without(messages)
        for message in messages:
            if message.error() is not None:
                self._on_message_error(message)
        return [message for message in messages if message.error() is None]

    def _on_message_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        raise_if_final(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._on_lost_offset(message, error)
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            log.warning("lost the partitions, because a poll stayed away too long; joining again")
        else:
            log.warning("Kafka: %s", error.str())
            self._health.set("kafka", error.str())

    def _on_lost_offset(self, message: Message, error: KafkaError) -> None:
        """The next event is gone (retention removed it, or the topic was made anew): never go on in silence."""
        if self._is_another():
            return
        where, go_on = f"{message.topic()}-{message.partition()}", self._settings.worker.on_lost_offset
        if go_on == "stop":
            raise FatalKafkaError(
                f"the next event of {where} is gone ({error.str()}): events were removed before they were answered. "
                "Set MARQUEE_WORKER__ON_LOST_OFFSET to earliest or latest to go on past them"
            )
        log.error("the next event of %s is gone (%s); going on at the %s", where, error.str(), go_on)
        self._metrics.lost_offsets.inc()
        offset = OFFSET_BEGINNING if go_on == "earliest" else OFFSET_END
        topic, partition = message.topic(), message.partition()
        assert topic is not None and partition is not None
        self._assignment.go_to([TopicPartition(topic, partition, offset)])

    def _is_another(self) -> bool:
        """Whether `profiles` was made anew, or nobody tells yet; the positions are asked for anew then."""
        try:
            if not self._assignment.is_another():
                return False
        except KafkaException as exception:
            raise_if_final(exception.args[0])
        except UnreachableError as error:
            log.info("asking again whether profiles was made anew: %s", error)
        self._pipeline.abandon()
        self._rewinding = True
        return True

    # Handing over.

    def _due(self) -> Trigger | None:
        if not self._taken:
            return None
        if self._taken.full:
            return "size"
        if self._pipeline.answering == 0:
            return "drained"
        if not self._pipeline.answers_at_once:
            return None  # it would only wait there; here it grows meanwhile
        waited = time.monotonic() - self._taken_at
        return "deadline" if waited * 1_000 >= self._settings.worker.batch_deadline_ms else None

    def _room(self) -> bool:
        """Whether the pipeline takes a batch now; while it does not, keep the place in the group by polling."""
        if self._pipeline.wait_for_room(0.0 if self._paused else ROOM_SECONDS):
            self._pause(False)
            return True
        self._pause(True)
        # Nothing comes from paused partitions but what was under way; it joins the batch, whatever its size.
        self._take(self._events(self._consumer.consume(1, POLL_SECONDS)))
        return False

    def _pause(self, paused: bool) -> None:
        if paused != self._paused:
            assignment = self._consumer.assignment()
            if paused:
                self._consumer.pause(assignment)
            else:
                self._consumer.resume(self._unreadable.others(assignment))
            self._paused = paused

    def _hand_over(self, trigger: Trigger) -> None:
        events, size = self._taken.next_batch()
        self._pipeline.submit(events, trigger, size)

    # Positions: from the group's committed offsets, never from memory.

    def _rewind(self) -> None:
        """Drop what is taken, and have every position asked for anew; until what is in flight has ended, take nothing."""
        self._taken.clear()
        self._events(
            self._consumer.consume(self._settings.worker.batch_events, 0.01)
        )  # dropped; keeps our place
        # What is being committed must have ended before the offsets are read.
        if not self._pipeline.drain(0.0):
            if self._pipeline.waits_for:
                self._health.set("publish", self._pipeline.waits_for)
            return
        self._settle()
        # Before the partitions are assigned again: one that is assigned in pause is left alone for a second (librdkafka 2.16
        # wakes nobody up when the pause ends).
        self._pause(False)
        log.info("rewind of %s", _numbers(self._assignment.set_aside()))
        self._health.set("publish", None)
        self._pipeline.resume()
        self._rewinding = False

    # Rebalances. librdkafka calls these inside consume() and close(), in the poll thread.

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Only note them. The client is told of none yet, and must be told: else it assigns them all itself."""
        self._assignment.given(partitions)
        consumer.incremental_assign([])
        self._regrouped = True

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """1. Hand over what is taken. 2. Finish. 3. Or else drop everything, and go back. 4. Let go.

        Where a commit's outcome is not known yet the marks stay, and so they do where an error ends this process.
        """
        while self._taken and not self._rewinding and not self._stopping.is_set():
            self._hand_over("revoked")
        if not self._finished(0.0 if self._stopping.is_set() else REVOKE_SECONDS):
            log.warning("what is in flight did not end in time; dropping it, others will answer it")
            self._pipeline.abandon()
            self._rewinding = True
        self._regrouped = True
        self._settle()
        in_order = not (self._rewinding or self._pipeline.undone or self._failing)
        self._assignment.drop(partitions, in_order=in_order)
        log.info("revoked %s", _numbers(partitions))

    def _finished(self, seconds: float) -> bool:
        """Whether what is in flight ends in time; a call that hangs is left behind here, too."""
        deadline = time.monotonic() + seconds
        while not self._pipeline.drain(min(seconds, FINISH_LOOK_SECONDS)):
            if time.monotonic() >= deadline:
                return False
            self._watch_calls()
        return True

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._pipeline.abandon()
        self._positions.expect_others()
        self._rewinding = self._regrouped = True
        self._assignment.drop(partitions)
        log.warning("lost %s", _numbers(partitions))

    def _on_error(self, error: KafkaError) -> None:
        """A client-wide error. Only authentication ends us: the rest librdkafka tries again for as long as it takes."""
        try:
            raise_if_final(error)
        except MarqueeError as refusal:  # raised again from the loop: nobody is sure to see a callback's
            self._refusal = refusal
        now = time.monotonic()
        if now >= self._said_until.get(error.code(), 0.0):
            self._said_until[error.code()] = now + QUIET_SECONDS
            log.warning("Kafka: %s", error.str())
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._health.set("kafka", f"no broker of {self._settings.kafka.bootstrap_servers} can be reached")


def _numbers(partitions: list[TopicPartition]) -> str:
    return f"{len(partitions)} partitions: {', '.join(str(p.partition) for p in partitions)}"
