"""The lag of a consumer group, and its members."""

import time
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.kafka import watermarks

_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class Group:
    """A consumer group on a topic; `lag` is in records, by partition."""

    name: str
    topic: str
    state: str
    members: int
    lag: dict[int, int]

    @property
    def total_lag(self) -> int:
        return sum(self.lag.values())


def group_on(
    admin: AdminClient, consumer: Consumer, name: str, topic: str, partitions: int, timeout_s: float
) -> Group:
    """Read the state and the lag of a group. In a partition without a committed offset, the lag is all its records.

    `consumer` has the group's id, but does not join it. It reads the offsets, because the admin client of librdkafka 2.16
    crashes in `list_consumer_group_offsets` if the coordinator has just moved (confluent-kafka-javascript issue 374), and in
    `list_offsets` too (`schemas.kafka`).

    Raises:
        KafkaException: Kafka did not answer within `timeout_s`.
    """
    places = [TopicPartition(topic, number) for number in range(partitions)]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            state, members = _members(admin, name, timeout_s)
            committed = _committed(consumer, places, timeout_s)
            found = {place.partition: watermarks(consumer, place, timeout_s) for place in places}
        except KafkaException:  # a coordinator or leader may move
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_SECONDS)
            continue
        lag = {number: end - max(start, committed.get(number, 0)) for number, (start, end) in found.items()}
        return Group(name, topic, state, members, {number: max(0, behind) for number, behind in lag.items()})


def _members(admin: AdminClient, name: str, timeout_s: float) -> tuple[str, int]:
    try:
        found = admin.describe_consumer_groups([name], request_timeout=timeout_s)[name].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return "absent", 0
        raise
    return found.state.name.lower(), len(found.members)


def _committed(consumer: Consumer, places: list[TopicPartition], timeout_s: float) -> dict[int, int]:
    """Read the committed offsets by partition; a partition without one is left out."""
    try:
        found = consumer.committed(places, timeout_s)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return {place.partition: place.offset for place in found if place.offset >= 0}
