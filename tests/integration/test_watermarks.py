"""Where a topic ends: with what is committed, or with what is there; and whoever reads to its end waits for the right one."""

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producer.cluster import Refusal, ends
from schemas import kafka
from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.compacted import CompactedReader

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
    # Then it is beyond the end of what is committed, and before the end of what is there
    for settled, end in ((False, 0), (True, 1)):
        found = ends(kafka_settings.kafka, [place], Refusal(), TIMEOUT, settled=settled)
        assert [each.offset for each in found] == [end]
    # And who wants everything that was decided waits for it, and nobody else
    reader.read_to_end(TIMEOUT)
    with pytest.raises(UnreachableError):
        reader.read_to_end(1.0, settled=True)
    assert read == []
    # Until it is
    undecided.commit_transaction(TIMEOUT)
    reader.read_to_end(TIMEOUT, settled=True)
    assert read == [b"value"]
    reader.close()
