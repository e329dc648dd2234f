"""An indexer's membership in the group on `release-commands`: whether the commands are ours, and where we are in them."""

import logging

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import kafka
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.kafka.errors import raise_if_final
from worker.kafka.undecodable import undecodable_at
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.process import Stopping

log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOG_CRITICAL = 2  # librdkafka repeats itself while a broker is away; /health/ready says it once


class Membership:
    """One consumer of the one partition, which is never taken from who has it by somebody who joins."""

    def __init__(
        self, settings: Settings, health: Health, metrics: IndexerMetrics, stopping: Stopping
    ) -> None:
        self._partition = TopicPartition(settings.names.release_commands, 0)
        self._health = health
        self._metrics = metrics
        self._stopping = stopping
        self._assigned = self._lost = self._away = False
        self._refused: KafkaError | None = None
        self.consumer = Consumer(
            kafka.reader(
                settings.kafka,
                settings.names.indexer_group,
                {
                    "auto.offset.reset": "earliest",
                    # An eager assignor takes the partition from its owner whenever another indexer joins: two of them
                    # would end each other's work for ever.
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": settings.worker.session_timeout_ms,
                    "max.poll.interval.ms": settings.worker.max_poll_interval_ms,
                    "error_cb": self._note,
                    "log_level": _LOG_CRITICAL,
                },
            )
        )

    @property
    def has_commands(self) -> bool:
        """Whether the partition is ours."""
        return self._assigned

    def join(self) -> None:
        self.consumer.subscribe(
            [self._partition.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_gone,
            on_lost=self._on_gone,
        )

    def poll(self, seconds: float) -> Message | None:
        """The next command, if there is one; never one while `pause` is in force.

        Raises:
            AbortedError: the partition went to another indexer.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        message = self.consumer.poll(seconds)
        self._look_for_kafka()
        if self._refused:
            raise_if_final(self._refused)
        if self._lost:
            raise AbortedError("the commands went to another indexer")
        error = message.error() if message is not None else None
        if message is not None and error is None and message.partition() != self._partition.partition:
            # Its offset would move the place among the commands; the check of the topics names the remedy.
            log.warning("%s-%s: only partition 0 has commands, ignored", message.topic(), message.partition())
            return None
        if error is None:
            if message is not None:
                self._health.set("commands", None)
            return message
        raise_if_final(error)
        if message is not None and undecodable_at(message) is not None:
            self._health.set("commands", f"{self._partition.topic}-0 cannot be decoded: {error.str()}")
        log.warning("%s: %s", self._partition.topic, error.str())
        return None

    def pause(self) -> None:
        self.consumer.pause([self._partition])

    def resume(self) -> None:
        self.consumer.resume([self._partition])

    def next_place(self) -> TopicPartition | None:
        """The group's committed place, or the topic's beginning where it has none; None while Kafka is away."""
        try:
            committed = self.consumer.committed([self._partition], timeout=_CALL_SECONDS)[0].offset
            beginning = self.consumer.get_watermark_offsets(self._partition, timeout=_CALL_SECONDS)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return None
        return self.at(max(committed, beginning[0])) if beginning else None

    def at(self, offset: int) -> TopicPartition:
        """The place of the command with this offset."""
        return TopicPartition(self._partition.topic, self._partition.partition, offset)

    def close(self) -> None:
        self._metrics.leads.set(False)
        self.consumer.close()

    def _look_for_kafka(self) -> None:
        """Take the problem back once Kafka answers again."""
        if not self._away:
            return
        try:
            self.consumer.list_topics(self._partition.topic, timeout=_LOOK_SECONDS)
        except KafkaException:
            return
        self._away = False
        self._health.set("kafka", None)

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Every rebalance ends here, and tells only what is new: nothing, to who has the partition already."""
        if self._assigned:
            return
        self._assigned = self._is_among(partitions)
        self._metrics.leads.set(self._assigned)
        log.info("this indexer %s the commands", "takes" if partitions else "stands by for")

    def _on_gone(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_among(partitions):
            self._lost = not self._stopping.is_set()

    def _is_among(self, partitions: list[TopicPartition]) -> bool:
        return any(partition.partition == self._partition.partition for partition in partitions)

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True
            self._health.set("kafka", f"Kafka is away: {error.str()}")
        elif error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            self._refused = error
