"""Writing states of releases: the records and the indexer's place among the commands, in one transaction."""

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from pydantic import BaseModel

from schemas import kafka
from schemas.settings import Settings
from worker.errors import UndoneError
from worker.kafka.publish import CALL_SECONDS, raise_if_final

log = logging.getLogger(__name__)

Records = Mapping[str, BaseModel | None]  # by key; None takes the record away


class StateWriter:
    """One transactional producer. Fenced by its successor's `start`, and by the group once the partition is another's."""

    def __init__(self, settings: Settings, indexer_id: str, consumer: Consumer) -> None:
        self._topic = settings.names.releases
        self._consumer = consumer
        self._producer = Producer(
            kafka.transactional_producer(
                settings.kafka,
                settings.names.indexer_transactional_id(indexer_id),
                settings.worker.transaction_timeout_ms,
            )
        )

    def start(self) -> None:
        """Take the transactional id: fences a predecessor, and ends the transaction that it left open.

        Raises:
            UndoneError: Kafka did not answer.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        sorted_out("init_transactions", lambda: self._producer.init_transactions(CALL_SECONDS))

    def write(self, records: Records, position: TopicPartition) -> None:
        """Commit records and the place of the next command, or nothing.

        Raises:
            UndoneError: nothing was committed, or the outcome is unknown: begin again from what Kafka holds.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        group = self._consumer.consumer_group_metadata()
        try:
            sorted_out("begin_transaction", self._producer.begin_transaction)
            sorted_out("produce", lambda: self._produce(records))
            sorted_out(
                "send_offsets_to_transaction",
                lambda: self._producer.send_offsets_to_transaction([position], group, CALL_SECONDS),
            )
            sorted_out("commit_transaction", lambda: self._producer.commit_transaction(CALL_SECONDS))
        except UndoneError:
            self._abort()
            raise

    def _produce(self, records: Records) -> None:
        for key, record in records.items():
            value = record.model_dump_json() if record else None
            self._producer.produce(self._topic, value, key, partition=0)

    def close(self) -> None:
        """Let the producer go, without waiting for anybody: an `init_transactions` that timed out would go on in it, and fence its successor."""
        del self._producer

    def _abort(self) -> None:
        """End the transaction at once if that is possible; else its timeout or the next `start` does."""
        try:
            self._producer.abort_transaction(CALL_SECONDS)
        except KafkaException as exception:
            log.warning("abort_transaction: %s", exception.args[0].str())


def sorted_out(call: str, run: Callable[[], object]) -> None:
    """Run one transactional call, and sort its error by what happens next.

    Raises:
        UndoneError: it failed, or nobody knows.
        SettingsError, FatalKafkaError: as `raise_if_final`.
    """
    try:
        run()
    except KafkaException as exception:
        error: KafkaError = exception.args[0]
        raise_if_final(error)
        raise UndoneError(f"{call}: {error.str()}") from None
