"""Polling: events out of the Kafka client, kept until a batch is due; and the errors that the client reports in between."""

import logging
import time
from collections.abc import Callable
from typing import cast

from confluent_kafka import KafkaError, Message

from schemas.errors import MarqueeError
from schemas.headers import mended
from schemas.settings import Settings
from worker.events import Event, PolledEvents, Trigger
from worker.kafka.errors import raise_if_final
from worker.monitoring.failpoints import failpoint
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.stream.crashes import Rehearsals
from worker.stream.pipeline import Pipeline
from worker.stream.session import Member
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# librdkafka releases the interpreter's lock every 200 ms of a wait, so a longer wait wins nothing.
POLL_SECONDS = 0.1
# While an answer about positions may come at any moment.
ASKING_SECONDS = 0.01
# Between two looks at the pipeline, while a batch is filled.
LOOK_SECONDS = 0.002
# The client reports each attempt to connect while a broker is away, some twenty in a second.
QUIET_SECONDS = 30.0


class Polling:
    """Used by the poll thread, and by the callbacks of the client, which run in it."""

    def __init__(
        self,
        settings: Settings,
        member: Member,
        unreadable: Unreadable,
        rehearsals: Rehearsals,
        health: Health,
        metrics: Metrics,
        on_lost_offset: Callable[[Message, KafkaError], None],
    ) -> None:
        self._worker = settings.worker
        self._member = member
        self._unreadable = unreadable
        self._rehearsals = rehearsals
        self._health = health
        self._metrics = metrics
        self._on_lost_offset = on_lost_offset
        self.taken = PolledEvents(settings.worker.batch_events, settings.worker.batch_max_mb * 2**20)
        self._taken_at = 0.0

    def poll(self, *, asking: bool, answers_at_once: bool) -> None:
        """Wait for one event, then take all that are fetched: `consume(n, timeout)` would wait for n or the whole timeout.

        Args:
            asking: whether positions may become known at any moment.
            answers_at_once: whether the pipeline would answer a batch now.
        """
        if self.taken.full:
            return
        first = self._consume(1, self._patience(asking=asking, answers_at_once=answers_at_once))
        self.take(first)
        if first and (room := self.taken.room):
            self.take(self._consume(room, 0))
        if self.taken:
            failpoint("after-poll")

    def poll_paused(self) -> None:
        """Poll without room: paused partitions give only events that were under way, which join the batch."""
        self.take(self._consume(1, POLL_SECONDS))

    def drop(self) -> None:
        """Drop all events, also those that one poll brings, which keeps the membership."""
        self.taken.clear()
        self._consume(self._worker.batch_events, ASKING_SECONDS)

    def close(self) -> None:
        """Drop all events, and end the child processes that read batches."""
        self.taken.clear()
        self._unreadable.close()

    def take(self, events: list[Event]) -> None:
        """Add events to those that wait."""
        if events and not self.taken:
            self._taken_at = time.monotonic()
        # One look at an empty dict, unless an event has ended processes.
        self.taken.add(self._rehearsals.apart(events) if self._rehearsals.condemned else events)

    def take_read_aside(self) -> None:
        """Add events of a batch that a child process has decoded."""
        self.take(cast(list[Event], self._unreadable.take()))

    def due(self, pipeline: Pipeline) -> Trigger | None:
        """The reason to hand a batch over now: it is full, the pipeline is idle, or its first event waited long enough."""
        if not self.taken:
            return None
        if self.taken.full:
            return "size"
        if pipeline.answering == 0:
            return "drained"
        if not pipeline.answers_at_once:
            return None  # it would only wait there; here it grows meanwhile
        waited = time.monotonic() - self._taken_at
        return "deadline" if waited * 1_000 >= self._worker.batch_deadline_ms else None

    def _patience(self, *, asking: bool, answers_at_once: bool) -> float:
        """Seconds to wait for the next event: while a batch is filled it may be due at any moment."""
        if not self.taken:
            return ASKING_SECONDS if asking else POLL_SECONDS
        deadline = self._taken_at + self._worker.batch_deadline_ms / 1_000
        soonest = 0.0 if answers_at_once else LOOK_SECONDS
        return min(LOOK_SECONDS, max(soonest, deadline - time.monotonic()))

    def _consume(self, count: int, seconds: float) -> list[Event]:
        messages = self._member.consume(count, seconds)
        if any(message.error() is not None for message in messages):
            messages = self._without_errors(messages)
        return cast(list[Event], mended(messages, self._metrics.unreadable_headers.inc))

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        messages = self._unreadable.without(messages)
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(message, error)
        return [message for message in messages if message.error() is None]

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        raise_if_final(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._on_lost_offset(message, error)
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            log.warning("rejoin: the partitions are lost, because polling stopped for too long")
        else:
            log.warning("Kafka: %s", error.str())
            self._health.set("kafka", error.str())


class ClientErrors:
    """Client-wide errors. Only a refusal ends the process: librdkafka retries after any other, for as long as it lasts."""

    def __init__(self, settings: Settings, health: Health) -> None:
        self._servers, self._health = settings.kafka.bootstrap_servers, health
        self._refusal: MarqueeError | None = None
        self._quiet_until: dict[int, float] = {}

    def on_error(self, error: KafkaError) -> None:
        """The callback of the client, in any thread."""
        try:
            raise_if_final(error)
        except MarqueeError as refusal:  # an error that a callback raises may be lost
            self._refusal = refusal
        now = time.monotonic()
        if now >= self._quiet_until.get(error.code(), 0.0):
            self._quiet_until[error.code()] = now + QUIET_SECONDS
            log.warning("Kafka: %s", error.str())
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._health.set("kafka", f"no broker of {self._servers} can be reached")

    def raise_refusal(self) -> None:
        """Raise the refusal in the poll thread.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if self._refusal:
            raise self._refusal
