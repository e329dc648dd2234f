"""Where a partition begins and ends.

A consumer is asked, and not the admin client: in librdkafka 2.16 `AdminClient.list_offsets` ends the whole process (a failed
assertion, a double free, a segmentation fault) where metadata comes in while it looks for a leader, as it does when brokers
come back or are slow.
"""

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def watermarks(consumer: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """The first offset of a partition and the one after its last.

    The end is that of what is committed, or of what is there, as the consumer's `isolation.level` says.

    Raises:
        KafkaException: the brokers did not tell within `timeout_s`, in seconds.
    """
    found = consumer.get_watermark_offsets(place, timeout=timeout_s)
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return found
