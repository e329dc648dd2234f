"""Writing states of releases: the records and the offset of the next command, in one transaction."""

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition
from pydantic import BaseModel

from schemas import kafka
from schemas.settings import Settings
from worker.errors import AbortedError, RefusedError
from worker.events import Record
from worker.kafka.producer import TransactionalProducer

Records = Mapping[str, BaseModel | None]  # by key; None is a tombstone


class StateWriter:
    """Fenced by its successor's `start`, and by the group once the partition is another indexer's."""

    def __init__(self, settings: Settings, indexer_id: str, consumer: Consumer) -> None:
        self._topic = settings.names.releases
        self._consumer = consumer
        self._producer = TransactionalProducer(
            kafka.transactional_producer(
                settings.kafka,
                settings.names.indexer_transactional_id(indexer_id),
                settings.worker.transaction_timeout_ms,
            )
        )
        self.start, self.close = self._producer.start, self._producer.discard

    def write(self, records: Records, position: TopicPartition) -> None:
        """Commit records and the offset of the next command, or nothing.

        Raises:
            AbortedError: nothing was committed, or the outcome is unknown: begin again from what Kafka holds.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        try:
            with self._producer.transaction() as transaction:
                transaction.produce(self._record(key, record) for key, record in records.items())
                transaction.send_offsets([position], self._consumer.consumer_group_metadata())
        except RefusedError as refused:
            raise AbortedError(f"{refused}; {refused.remedy}") from None

    def _record(self, key: str, record: BaseModel | None) -> Record:
        value = record.model_dump_json().encode() if record else None
        return Record(self._topic, 0, key.encode(), value, [])
