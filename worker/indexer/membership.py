"""An indexer's membership in the group on `release-commands`: whether it leads, and its offset among the commands."""

import logging

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from schemas.settings import Settings
from worker.kafka.errors import raise_if_final, undecodable_at
from worker.kafka.leader import Election
from worker.monitoring.http import Health
from worker.monitoring.indexer_metrics import IndexerMetrics

log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Membership(Election):
    """The leader reads the commands."""

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
        """The next command, if there is one; none while `pause` is in force. Raises as `Election.poll`."""
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
            # Its offset would move the place among the commands; the check of the topics names the remedy.
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

    def next_place(self) -> TopicPartition | None:
        """The group's committed offset, or the topic's beginning where it has none; None while Kafka is away."""
        try:
            committed = self.consumer.committed([self.partition], timeout=_CALL_SECONDS)[0].offset
            beginning = self.consumer.get_watermark_offsets(self.partition, timeout=_CALL_SECONDS)
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return None
        return self.at(max(committed, beginning[0])) if beginning else None

    def at(self, offset: int) -> TopicPartition:
        """The place of the command with this offset."""
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
