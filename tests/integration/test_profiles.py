"""Publishing to real Kafka: keys, partitions, counts, and each way in which it fails."""

import random

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from ops.local.ports import free_port
from producer.profiles import Delivery, ProfilePublisher, publish_one
from producer.reader import Reader
from schemas import kafka
from schemas.errors import MarqueeError, UnreachableError
from schemas.settings import Settings
from worker.kafka.topics import ensure_topics


@pytest.fixture
def deployment(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, 60)
    return kafka_settings


def with_client(settings: Settings, **options: str | int) -> Settings:
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"client": options})})


def java_partition(key: bytes, partitions: int) -> int:
    """Kafka's org.apache.kafka.common.utils.Utils.murmur2, as its DefaultPartitioner uses it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(key)) & mask
    for start in range(0, len(key) - len(key) % 4, 4):
        k = int.from_bytes(key[start : start + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := key[len(key) - len(key) % 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return (h & 0x7FFFFFFF) % partitions


def test_the_reference_partitioner_is_javas() -> None:
    # From Kafka's UtilsTest: murmur2("21") is -973932308, murmur2("foobar") is -790332482.
    assert java_partition(b"21", 2**31) == -973932308 & 0x7FFFFFFF
    assert java_partition(b"foobar", 2**31) == -790332482 & 0x7FFFFFFF


def test_every_event_arrives_once_where_java_would_put_it(deployment: Settings) -> None:
    deliveries: list[Delivery] = []
    with Reader(deployment, [deployment.names.profiles], start="beginning") as reader:
        with ProfilePublisher(deployment, on_delivery=deliveries.append) as publisher:
            for user in range(1, 501):
                publisher.publish({"user_id": user}, f"line {user}")
        seen: list[Message] = []
        while len(seen) < 500 and (batch := reader.poll(10)):
            seen += batch
    assert (publisher.counts.sent, publisher.counts.delivered) == (500, 500)
    keys = sorted((message.key() or b"").decode() for message in seen)
    assert keys == sorted(str(user) for user in range(1, 501))
    assert {message.partition() for message in seen} == set(range(deployment.kafka.partitions))
    for message in seen:
        assert message.partition() == java_partition(message.key() or b"", deployment.kafka.partitions)
    places = {(message.partition(), message.offset()): message.timestamp()[1] for message in seen}
    assert places == {(each.partition, each.offset): each.timestamp_ms for each in deliveries}


def test_a_full_queue_is_waited_for(deployment: Settings) -> None:
    narrow = with_client(deployment, **{"queue.buffering.max.messages": 7})
    with ProfilePublisher(narrow) as publisher:
        for _ in range(2_000):
            publisher.publish(b"{}")
    assert publisher.counts.delivered == 2_000


def test_an_event_that_the_topic_does_not_take_is_named(deployment: Settings) -> None:
    with (
        pytest.raises(MarqueeError, match=r"line 2 could not be delivered .*max\.message\.bytes"),
        ProfilePublisher(deployment) as publisher,
    ):
        publisher.publish(b"{}", "line 1")
        # Random bytes, because the broker measures the compressed size.
        publisher.publish(random.Random(1).randbytes(3_000_000), "line 2")


def test_a_missing_topic_is_named_and_not_created(kafka_settings: Settings) -> None:
    with pytest.raises(MarqueeError, match="has no topic") as caught:
        publish_one(kafka_settings, {})
    assert kafka_settings.names.profiles in str(caught.value)
    admin = AdminClient(kafka.admin(kafka_settings.kafka))
    assert kafka_settings.names.profiles not in admin.list_topics(timeout=30).topics


def test_unreachable_kafka_is_reported_within_the_timeout(kafka_settings: Settings) -> None:
    nowhere = kafka_settings.model_copy(
        update={
            "kafka": kafka_settings.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
        }
    )
    with pytest.raises(UnreachableError, match="did not answer within 1 s") as caught:
        publish_one(nowhere, {}, timeout_s=1)
    assert caught.value.exit_code == 2
