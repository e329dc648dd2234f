"""Taking turns: of several processes the one works that has the one partition of a topic, the others stand by."""

import logging

from confluent_kafka import Consumer, TopicPartition

from schemas import kafka
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.kafka.errors import raise_if_final

log = logging.getLogger(__name__)


class Turn:
    """A place in the group of outcomes workers. Nothing is read through it."""

    def __init__(self, settings: Settings) -> None:
        self._lost = False
        self.ours = False
        """Whether it is our turn."""
        self._consumer = Consumer(kafka.outcomes_turn(settings))
        self._consumer.subscribe(
            [settings.names.outcomes],
            on_assign=self._on_assign,
            on_revoke=self._on_gone,
            on_lost=self._on_gone,
        )

    def keep(self, seconds: float) -> None:
        """Stay in the group, waiting up to `seconds` for a change; to be called again and again.

        Raises:
            AbortedError: it was our turn, and is no more.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        message = self._consumer.poll(seconds)
        if message is not None and (error := message.error()) is not None:
            raise_if_final(error)
        if self._lost:
            raise AbortedError("another outcomes worker took over")

    def close(self) -> None:
        """Leave the group, so that a successor may begin at once."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        # Of a topic with more partitions, which should not be, two processes may hold one each: only the first counts.
        self.ours = self.ours or _has_first(partitions)
        log.info("this outcomes worker %s", "works" if self.ours else "stands by")

    def _on_gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._lost = self._lost or (self.ours and _has_first(partitions))


def _has_first(partitions: list[TopicPartition]) -> bool:
    return any(partition.partition == 0 for partition in partitions)
