"""The reader of compacted topics with one partition: `releases`, `withdrawals`, `outcomes`."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas import kafka
from schemas.errors import FatalKafkaError, SettingsError, UnreachableError
from schemas.kafka import watermarks
from schemas.releases import Change as ReleaseChange
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.kafka.errors import Next, rule, undecodable_at
from worker.monitoring.threads import start_vital
from worker.monitoring.waiting import Deadline

log = logging.getLogger(__name__)

Change = TypeVar("Change")
Apply = Callable[[bytes | None, bytes | None], Change | None]

_BATCH = 500  # records of one consume
# Only the event of a partition's end reports it, because transaction markers take offsets without a record. It comes after a fetch
# that found nothing for so long. A record is not delayed by it, and ten times as many fetches cost worker and broker as much as
# a thousand events a second.
_FETCH_WAIT_MS = 50
_ATTEMPT_SECONDS = 1.0  # one look-up of the topic's end; a broker that is up answers in milliseconds
_LOG_CRITICAL = 2  # a broker that is away would fill the log; the errors raised here name it once


def close_aside(close: Callable[[], None]) -> None:
    """Close a client in a thread of its own: it may wait for a broker that is gone."""

    def failed(error: BaseException) -> None:
        log.warning("closing a Kafka client failed: %s", error)

    start_vital("close", close, failed)


class CompactedReader(Generic[Change]):
    """Hands every committed record to `apply`, in order. One thread at a time; joins no group and commits nothing."""

    def __init__(self, settings: Settings, topic: str, group: str, apply: Apply[Change]) -> None:
        """Begin at the topic's beginning; brokers ask for the right to `group`, a name without the prefix."""
        self._partition = TopicPartition(topic, 0)
        self._apply = apply
        self._settings = settings.kafka
        self._group = f"{settings.prefix}{group}"
        self._where = f"Kafka at {settings.kafka.bootstrap_servers}"
        self._refused: KafkaError | None = None
        self._problem: KafkaError | None = None
        self._ended_at = -1
        self.undecodable: str | None = None
        """A sentence for /health/ready, where the client cannot decode a batch and reads nothing behind it."""
        self.position = 0
        """The offset after the last record that was read."""
        self._consumer = self._begin()
        self._uncommitted: Consumer | None = None

    def read_to_end(self, timeout_s: float, *, settled: bool = False) -> None:
        """Read every record that is committed by now.

        A commit returns before its records can be read. With `settled` this waits for them, and for open transactions to end, so
        that no decision before this call is missed.

        Raises:
            UnreachableError: not within `timeout_s`; call again, nothing is lost.
            SettingsError, FatalKafkaError: as `poll`.
        """
        deadline, end = Deadline(timeout_s), None
        self._problem = None
        while end is None or self._ended_at < end:
            if deadline.passed:
                why = self._why(end)
                self._renew()
                raise UnreachableError(
                    f"the topic {self._partition.topic} of {self._where} could not be read to its end within "
                    f"{timeout_s:g} s{why}; start Kafka, or create the topic with `marquee topics`"
                )
            if end is None:
                end = self._end(deadline.within(_ATTEMPT_SECONDS, at_least=0.01), settled)
            if end is None or self._ended_at < end:
                self.poll(deadline.within(0.1))

    def poll(self, timeout_s: float) -> list[Change]:
        """Wait up to `timeout_s` for a record, then apply all that are there; none while Kafka is away.

        Raises:
            SettingsError: Kafka refuses this client, or its right to read the topic.
            FatalKafkaError: this consumer cannot go on.
        """
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(_BATCH - 1, 0)
        if self._refused:
            raise SettingsError(
                f"{self._where} refused the credentials, or the right to read {self._partition.topic} "
                f"({self._refused.str()}); check the MARQUEE_KAFKA__… settings and the topic's rights"
            )
        changes = []
        for message in messages:
            error, offset = message.error(), message.offset() or 0
            if error is not None:
                if undecodable_at(message) is not None:
                    place = f"{self._partition.topic}-0@{offset}"
                    self.undecodable = (
                        f"{place} cannot be decoded, and nothing behind it is read: {error.str()}"
                    )
                self._on_error(error, offset)
                continue
            self.position = max(self.position, offset + 1)
            self.undecodable = None
            if (change := self._apply(message.key(), message.value())) is not None:
                changes.append(change)
        return changes

    def close(self) -> None:
        """Close the clients."""
        for consumer in self._consumers():
            consumer.close()

    def _begin(self) -> Consumer:
        """A consumer that continues after the last record that was read."""
        own: kafka.Config = {
            "auto.offset.reset": "earliest",  # where the topic was deleted and created again
            "enable.partition.eof": True,
            "fetch.wait.max.ms": _FETCH_WAIT_MS,
            "error_cb": self._note,
            "log_level": _LOG_CRITICAL,
        }
        consumer = Consumer(kafka.reader(self._settings, self._group, own))
        begin = self.position or OFFSET_BEGINNING
        consumer.assign([TopicPartition(self._partition.topic, self._partition.partition, begin)])
        return consumer

    def _renew(self) -> None:
        """Leave the consumers, and continue with new ones.

        While brokers came and went, one got no answer for four minutes, in a process whose other consumers did. The cause is
        unknown.
        """
        for consumer in self._consumers():
            close_aside(consumer.close)
        self._ended_at = -1
        self._consumer, self._uncommitted = self._begin(), None

    def _consumers(self) -> list[Consumer]:
        return [consumer for consumer in (self._consumer, self._uncommitted) if consumer is not None]

    def _why(self, end: int | None) -> str:
        if self.undecodable:
            return f" ({self.undecodable})"
        if end is not None:
            return f" (it ends at {end}, read up to {max(self._ended_at, self.position)})"
        return f" ({self._problem.str()})" if self._problem else ""

    def _end(self, timeout_s: float, settled: bool) -> int | None:
        """The end of the committed records, or (`settled`) of all records; None while Kafka is away."""
        if settled and self._uncommitted is None:
            own = {"isolation.level": "read_uncommitted", "log_level": _LOG_CRITICAL}
            self._uncommitted = Consumer(kafka.reader(self._settings, self._group, own))
        asked = self._uncommitted if settled and self._uncommitted is not None else self._consumer
        try:
            return watermarks(asked, self._partition, timeout_s)[1]
        except KafkaException as error:
            self._note(error.args[0])
            return None

    def _on_error(self, error: KafkaError, offset: int) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._ended_at = offset
        elif error.fatal():
            raise FatalKafkaError(f"Kafka ended the reader of {self._partition.topic}: {error.str()}")
        else:
            self._note(error)

    def _note(self, error: KafkaError) -> None:
        self._problem = error
        if Next.EXIT in rule(error).next:
            self._refused = error


class ReleasesReader(CompactedReader[ReleaseChange]):
    """Follows `releases`, and keeps `view` up to date."""

    def __init__(self, settings: Settings) -> None:
        self.view = ReleasesView()
        super().__init__(settings, settings.names.releases, "releases", self.view.apply)


def read_releases(settings: Settings, timeout_s: float) -> ReleasesView:
    """The view of `releases` by now. Raises as `CompactedReader.read_to_end`."""
    reader = ReleasesReader(settings)
    try:
        reader.read_to_end(timeout_s)
        return reader.view
    finally:
        reader.close()
