"""Where to go on in each partition: from the group's committed offsets, never from memory."""

from collections.abc import Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from schemas.settings import WorkerSettings

# One question to the brokers for offsets; it is asked again for as long as they are away.
OFFSETS_SECONDS = 2.0


def committed_positions(
    consumer: Consumer, partitions: Sequence[TopicPartition], settings: WorkerSettings
) -> list[TopicPartition]:
    """The committed offset of each partition, or for one without, where the settings say that a group begins.

    An offset that an open transaction is about to change is waited for: `isolation.level=read_committed` makes the
    broker refuse to tell an unstable one.

    Raises:
        KafkaException: the brokers did not tell in time.
    """
    if not partitions:
        return []
    positions = consumer.committed(list(partitions), OFFSETS_SECONDS)
    for position in positions:
        if position.error is not None:
            raise KafkaException(position.error)
    fresh = [position for position in positions if position.offset < 0]
    for position in fresh:
        position.offset = OFFSET_BEGINNING
    if fresh and settings.start == "latest":
        for position in fresh:
            _, position.offset = consumer.get_watermark_offsets(position, OFFSETS_SECONDS)
        # From here on nothing may be skipped, also not by whoever has the partition after us.
        consumer.commit(offsets=fresh, asynchronous=False)
    return positions


def go_to(consumer: Consumer, positions: Sequence[TopicPartition]) -> None:
    """Go on at these positions of assigned partitions; what was fetched from elsewhere is dropped.

    Assigned anew, because `seek` refuses a partition whose last fetch failed or has not begun.
    """
    if positions:
        consumer.incremental_unassign(list(positions))
        consumer.incremental_assign(list(positions))
