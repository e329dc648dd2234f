"""A compacted topic of one partition on Kafka: read to its end, and followed."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from schemas import kafka
from schemas.errors import FatalKafkaError, SettingsError, UnreachableError
from schemas.kafka import watermarks
from schemas.settings import Settings
from worker.kafka.calls import close_aside
from worker.kafka.undecodable import undecodable_at

Change = TypeVar("Change")
Apply = Callable[[bytes | None, bytes | None], Change | None]

_BATCH = 500  # records of one consume
_FETCH_WAIT_MS = 50
_ATTEMPT_SECONDS = 1.0  # one attempt at the topic's end; a broker that is up answers in milliseconds
_LOG_CRITICAL = 2  # a broker that is away would fill the log; the errors we raise say it once
_REFUSED = {
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._SSL,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}


class CompactedReader(Generic[Change]):
    """Gives every record to `apply`, in order. One thread at a time; it joins no group and commits nothing."""

    def __init__(self, settings: Settings, topic: str, group: str, apply: Apply[Change]) -> None:
        """Begin at the topic's beginning; `group` is a name without its prefix, for the rights that brokers ask for."""
        self._topic = topic
        self._apply = apply
        self._settings = settings.kafka
        self._servers = settings.kafka.bootstrap_servers
        self._group = f"{settings.prefix}{group}"
        self._refused: KafkaError | None = None
        self._problem: KafkaError | None = None
        self._ended_at = -1
        self.undecodable: str | None = None
        """Where the client cannot decode the topic; what stands behind that is not read. A sentence for /health/ready."""
        self.position = 0
        """The offset after the last record that was read."""
        self._consumer = self._begin()
        self._unsettled: Consumer | None = None

    def read_to_end(self, timeout_s: float, *, settled: bool = False) -> None:
        """Read every record that is committed by now.

        A commit returns before its records can be read. With `settled` this waits for them, and for whatever transaction
        is under way to end, so that nothing decided before this call is missed.

        Raises:
            UnreachableError: not within `timeout_s`; to be repeated, nothing is lost.
            SettingsError, FatalKafkaError: as `poll`.
        """
        deadline = time.monotonic() + timeout_s
        end = None
        self._problem = None
        while True:
            left = deadline - time.monotonic()
            if end is None and left > 0:
                end = self._end(min(left, _ATTEMPT_SECONDS), settled)
            if end is not None and self._ended_at >= end:
                return
            if left <= 0:
                why = self._why(end)
                self._renew()
                raise UnreachableError(
                    f"the topic {self._topic} of Kafka at {self._servers} could not be read to its end within "
                    f"{timeout_s:g} s{why}; start Kafka, or create the topic with `marquee topics`"
                )
            self.poll(min(left, 0.1))

    def poll(self, timeout_s: float) -> list[Change]:
        """Wait up to `timeout_s` for a change, then take all that are there; Kafka being away gives none.

        Raises:
            SettingsError: Kafka refused who we are, or that we read the topic.
            FatalKafkaError: this consumer cannot go on.
        """
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(_BATCH - 1, 0)
        if self._refused:
            raise SettingsError(
                f"Kafka at {self._servers} refused who we are, or that we read {self._topic} "
                f"({self._refused.str()}); check the MARQUEE_KAFKA__… settings and the topic's rights"
            )
        changes = []
        for message in messages:
            error, offset = message.error(), message.offset()
            if error is not None:
                if (first := undecodable_at(message)) is not None:
                    self.undecodable = f"{self._topic}-0@{first} cannot be decoded, and nothing behind it is read: {error.str()}"
                self._take(error, offset)
                continue
            self.position = max(self.position, (offset or 0) + 1)
            self.undecodable = None
            if (change := self._apply(message.key(), message.value())) is not None:
                changes.append(change)
        return changes

    def close(self) -> None:
        for consumer in self._consumers():
            consumer.close()

    def _begin(self) -> Consumer:
        """A consumer that goes on after the last record that was read."""
        consumer = Consumer(
            kafka.reader(
                self._settings,
                self._group,
                {
                    "auto.offset.reset": "earliest",  # where the topic was made anew
                    # Only this event tells the end: the markers of transactions take offsets that no record has.
                    "enable.partition.eof": True,
                    # It comes after a fetch that found nothing for so long. A record is not kept back by it, and ten
                    # times as many fetches cost worker and broker as much as a thousand events a second.
                    "fetch.wait.max.ms": _FETCH_WAIT_MS,
                    "error_cb": self._note,
                    "log_level": _LOG_CRITICAL,
                },
            )
        )
        consumer.assign([TopicPartition(self._topic, 0, self.position or OFFSET_BEGINNING)])
        return consumer

    def _renew(self) -> None:
        """Leave the consumers as they are, and go on with new ones.

        While brokers came and went, one got no answer for four minutes, in a process whose other consumers did; nobody knows why.
        """
        for consumer in self._consumers():
            close_aside(consumer.close)
        self._ended_at = -1
        self._consumer, self._unsettled = self._begin(), None

    def _consumers(self) -> list[Consumer]:
        return [consumer for consumer in (self._consumer, self._unsettled) if consumer is not None]

    def _why(self, end: int | None) -> str:
        if self.undecodable:
            return f" ({self.undecodable})"
        if end is not None:
            return f" (it ends at {end}, read up to {max(self._ended_at, self.position)})"
        return f" ({self._problem.str()})" if self._problem else ""

    def _asked(self, settled: bool) -> Consumer:
        """Who is asked for the end: the reader, or one that reads nothing and sees what is not committed, too."""
        if not settled:
            return self._consumer
        if self._unsettled is None:
            own = {"isolation.level": "read_uncommitted", "log_level": _LOG_CRITICAL}
            self._unsettled = Consumer(kafka.reader(self._settings, self._group, own))
        return self._unsettled

    def _end(self, timeout_s: float, settled: bool) -> int | None:
        """The offset after the last record that is committed, or (`settled`) that is there; None while Kafka is away."""
        try:
            return watermarks(self._asked(settled), TopicPartition(self._topic, 0), timeout_s)[1]
        except KafkaException as error:
            self._note(error.args[0])
            return None

    def _take(self, error: KafkaError, offset: int | None) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended_at = offset if offset is not None else self._ended_at
        elif error.fatal():
            raise FatalKafkaError(f"Kafka ended the reader of {self._topic}: {error.str()}")
        else:
            self._note(error)

    def _note(self, error: KafkaError) -> None:
        self._problem = error
        if error.code() in _REFUSED:
            self._refused = error
