"""Leader election: of the members of a consumer group, the owner of a topic's first partition works and the others stand by."""

import logging

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas import kafka
from schemas.settings import KafkaSettings
from worker.errors import AbortedError
from worker.kafka.errors import Next, raise_if_final, rule

log = logging.getLogger(__name__)

_LOG_CRITICAL = 2  # librdkafka repeats itself while a broker is away; /health/ready says it once


class Election:
    """One member. Polling keeps it in the group, also while it works or stands by."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topic: str,
        role: str,
        own: kafka.Config,
        *,
        reads: bool = True,
    ) -> None:
        """`own` are further options of its consumer; a member that does not read keeps the partition paused."""
        self.partition = TopicPartition(topic, 0)
        self.leads = False
        self._role, self._reads = role, reads
        self._lost = False
        self._refused: KafkaError | None = None
        self.consumer = Consumer(
            kafka.reader(
                settings,
                group,
                {
                    # An eager assignor takes the partition from the leader whenever another member joins.
                    "partition.assignment.strategy": "cooperative-sticky",
                    "error_cb": self.on_error,
                    "log_level": _LOG_CRITICAL,
                }
                | own,
            )
        )

    def join(self) -> None:
        """Enter the group."""
        self.consumer.subscribe(
            [self.partition.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_gone,
            on_lost=self._on_gone,
        )

    def poll(self, seconds: float) -> Message | None:
        """The next message, waiting up to `seconds` for it.

        Raises:
            AbortedError: this member led, and another one leads now.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        message = self.consumer.poll(seconds)
        if self._refused is not None:
            raise_if_final(self._refused)
        if self._lost:
            raise AbortedError(f"another {self._role} leads now")
        if message is not None and (error := message.error()) is not None:
            raise_if_final(error)
        return message

    def close(self) -> None:
        """Leave the group, so that a successor leads at once."""
        self.leads = False
        self.consumer.close()

    def on_error(self, error: KafkaError) -> None:
        """Note a client-wide error; `poll` raises it where it is final."""
        if Next.EXIT in rule(error).next:
            self._refused = error

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        if not self._reads:
            consumer.pause(partitions)
        if self.leads:
            return
        # Where the topic has more partitions than it should, two members may own one each: only the first partition counts.
        self.leads = self._has_first(partitions)
        log.info("rebalance: this %s %s", self._role, "leads" if self.leads else "stands by")

    def _on_gone(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        self._lost = self._lost or (self.leads and self._has_first(partitions))

    def _has_first(self, partitions: list[TopicPartition]) -> bool:
        return any(partition.partition == self.partition.partition for partition in partitions)
