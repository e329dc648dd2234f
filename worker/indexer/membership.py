"""The Kafka clients of one membership: the consumer of commands, whose partition makes the leader, and the writer of states."""

import logging

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from pydantic import BaseModel

from schemas import kafka
from schemas.settings import Settings
from worker.errors import AbortedError, RefusedError
from worker.events import Record
from worker.indexer.job import Records
from worker.kafka.errors import raise_if_final, undecodable_at
from worker.kafka.leader import Election
from worker.kafka.producer import TransactionalProducer
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics

log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Membership(Election):
    """A member of the group of indexers; the leader reads the commands."""

    def __init__(self, settings: Settings, health: Health, metrics: IndexerMetrics) -> None:
        self._health = health
        self._metrics = metrics
        self._away = False
        own = {
            "auto.offset.reset": "earliest",
            "session.timeout.ms": settings.worker.session_timeout_ms,
            "max.poll.interval.ms": settings.worker.max_poll_interval_ms,
        }
        names = settings.names
        super().__init__(settings.kafka, names.indexer_group, names.release_commands, "indexer", own)

    def poll(self, seconds: float) -> Message | None:
        """The next command, or None; always None between `pause` and `resume`. Raises as `Election.poll`."""
        message = super().poll(seconds)
        self._metrics.leads.set(self.leads)
        self._look_for_kafka()
        if message is None:
            return None
        if (error := message.error()) is not None:
            if undecodable_at(message) is not None:
                self._health.set("commands", f"{self.partition.topic}-0 cannot be decoded: {error.str()}")
            log.warning("%s: %s", self.partition.topic, error.str())
            return None
        if message.partition() != self.partition.partition:
            # Its offset must not be committed for partition 0. The check of the topics names the remedy.
            log.warning("%s-%s: only partition 0 has commands, ignored", message.topic(), message.partition())
            return None
        self._health.set("commands", None)
        return message

    def pause(self) -> None:
        """Poll no command until `resume`."""
        self.consumer.pause([self.partition])

    def resume(self) -> None:
        """Poll commands again."""
        self.consumer.resume([self.partition])

    def next_command(self) -> TopicPartition | None:
        """The group's committed offset, or the topic's beginning if there is none; None while Kafka is away."""
        try:
            committed = self.consumer.committed([self.partition], timeout=_CALL_SECONDS)[0].offset
            beginning = self.consumer.get_watermark_offsets(self.partition, timeout=_CALL_SECONDS)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return None
        return self.at(max(committed, beginning[0])) if beginning else None

    def at(self, offset: int) -> TopicPartition:
        """An offset of the commands."""
        return TopicPartition(self.partition.topic, self.partition.partition, offset)

    def close(self) -> None:
        """Leave the group."""
        self._metrics.leads.set(False)
        super().close()

    def on_error(self, error: KafkaError) -> None:
        """Note that Kafka is away."""
        super().on_error(error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True
            self._health.set("kafka", f"Kafka is away: {error.str()}")

    def _look_for_kafka(self) -> None:
        """Clear the problem once Kafka answers again."""
        if not self._away:
            return
        try:
            self.consumer.list_topics(self.partition.topic, timeout=_LOOK_SECONDS)
        except KafkaException:
            return
        self._away = False
        self._health.set("kafka", None)


class StateWriter:
    """Writes `releases`. Fenced by its successor's `start`, and by the group once another indexer has the partition."""

    def __init__(self, settings: Settings, indexer_id: str, consumer: Consumer) -> None:
        self._topic = settings.names.releases
        self._consumer = consumer
        transactional_id = settings.names.indexer_transactional_id(indexer_id)
        timeout_ms = settings.worker.transaction_timeout_ms
        self._producer = TransactionalProducer(
            kafka.transactional_producer(settings.kafka, transactional_id, timeout_ms)
        )
        self.start, self.close = self._producer.start, self._producer.discard

    def write(self, records: Records, offset: TopicPartition) -> None:
        """Commit records and the offset of the next command, or nothing.

        Raises:
            AbortedError: nothing was committed, or the outcome is unknown.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        try:
            with self._producer.transaction() as transaction:
                transaction.produce(self._record(key, record) for key, record in records.items())
                transaction.send_offsets([offset], self._consumer.consumer_group_metadata())
        except RefusedError as refused:
            raise AbortedError(f"{refused}; {refused.remedy}") from None

    def _record(self, key: str, record: BaseModel | None) -> Record:
        value = record.model_dump_json().encode() if record else None
        return Record(self._topic, 0, key.encode(), value, [])
