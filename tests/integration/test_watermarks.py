"""The end of a topic: of its committed records, or of all records; each reader waits for its own end."""

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producer.cluster import Refusal, ends
from schemas import kafka
from schemas.errors import UnreachableError
from schemas.kafka import watermarks
from schemas.settings import Settings
from tests.testbed.kafka import cluster_state
from worker.kafka import reader as module
from worker.kafka.reader import CompactedReader

TIMEOUT = 30.0


@pytest.fixture
def undecided(kafka_settings: Settings) -> Producer:
    """A producer with one record in an open transaction, in a topic of that name."""
    admin = AdminClient(kafka.admin(kafka_settings.kafka))
    admin.create_topics([NewTopic("undecided", 1)])["undecided"].result()
    producer = Producer(kafka.transactional_producer(kafka_settings.kafka, "undecided", 60_000))
    producer.init_transactions(TIMEOUT)
    producer.begin_transaction()
    producer.produce("undecided", b"value")
    assert producer.flush(TIMEOUT) == 0
    return producer


def test_an_open_transaction_counts_only_where_it_is_to_be_waited_for(
    undecided: Producer, kafka_settings: Settings
) -> None:
    # Given a record that is not committed
    place = TopicPartition("undecided", 0)
    read: list[bytes | None] = []

    def note(_: bytes | None, value: bytes | None) -> None:
        read.append(value)

    reader = CompactedReader[None](kafka_settings, "undecided", "any", note)
    # Then it is beyond the end of the committed records, and before the end of all records
    for settled, end in ((False, 0), (True, 1)):
        found = ends(kafka_settings.kafka, [place], Refusal(), TIMEOUT, settled=settled)
        assert [each.offset for each in found] == [end]
    # And only a reader that needs every decision waits for it
    reader.read_to_end(TIMEOUT)
    with pytest.raises(UnreachableError):
        reader.read_to_end(1.0, settled=True)
    assert read == []
    # And the fault suite reports it
    told = cluster_state(kafka_settings.kafka.bootstrap_servers, "undecided")
    assert [
        line for line in told if "undecided-0: leader 1, " in line and line.endswith("committed up to 0 of 1")
    ]
    # Until it is
    undecided.commit_transaction(TIMEOUT)
    reader.read_to_end(TIMEOUT, settled=True)
    assert read == [b"value"]
    assert "undecided" not in str(cluster_state(kafka_settings.kafka.bootstrap_servers, "undecided"))
    reader.close()


def test_a_reader_that_nobody_answers_goes_on_with_a_new_client(
    kafka_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a reader that has read what there was
    admin = AdminClient(kafka.admin(kafka_settings.kafka))
    admin.create_topics([NewTopic("unanswered", 1)])["unanswered"].result()
    producer = Producer(kafka.producer(kafka_settings.kafka))
    read: list[bytes | None] = []

    def note(_: bytes | None, value: bytes | None) -> None:
        read.append(value)

    def publish(value: bytes) -> None:
        producer.produce("unanswered", value)
        assert producer.flush(TIMEOUT) == 0

    publish(b"before")
    reader = CompactedReader[None](kafka_settings, "unanswered", "any", note)
    reader.read_to_end(TIMEOUT)
    # When no broker answers its client any more
    stuck: set[Consumer] = set()

    def answered_to_others(consumer: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
        if not stuck:
            stuck.add(consumer)
        if consumer in stuck:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return watermarks(consumer, place, timeout_s)

    monkeypatch.setattr(module, "watermarks", answered_to_others)
    publish(b"after")
    # Then its error has the last answer, and it continues with the new records, and none twice
    with pytest.raises(UnreachableError, match="Timed out"):
        reader.read_to_end(1.0)
    reader.read_to_end(TIMEOUT)
    assert read == [b"before", b"after"]
    reader.close()
