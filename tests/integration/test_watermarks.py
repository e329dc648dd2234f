"""Where a partition ends, and that to ask for it costs nobody's life."""

import subprocess
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ops.local.kafka import LocalKafka
from schemas.watermarks import watermarks

SECONDS = 5.0
# Metadata that is always on its way, and threads that ask meanwhile. With AdminClient.list_offsets this process died in three of
# three tries within 17 s on a busy machine (two cores, three processes beside it that never rest).
ASK = """
import sys, threading, time
from confluent_kafka import Consumer, KafkaException, TopicPartition
from schemas.watermarks import watermarks

servers, topic, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
end = time.monotonic() + seconds
answered = 0

def ask():
    global answered
    consumer = Consumer({
        "bootstrap.servers": servers, "group.id": "any", "log_level": 0,
        "metadata.max.age.ms": 20, "topic.metadata.refresh.interval.ms": 10,
        "topic.metadata.refresh.fast.interval.ms": 5,
    })
    while time.monotonic() < end:
        try:
            watermarks(consumer, TopicPartition(topic, 0), 0.005)
            answered += 1
        except KafkaException:
            pass

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(answered)
"""


def topic(kafka: LocalKafka, name: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    admin.create_topics([NewTopic(name, 1)])[name].result()
    return name


def test_what_is_not_committed_counts_only_where_it_is_asked_for(kafka: LocalKafka) -> None:
    # Given a record in a transaction that is open
    place = TopicPartition(topic(kafka, "watermarks-open"), 0)
    servers = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    producer = Producer(servers | {"transactional.id": "watermarks-open"})
    producer.init_transactions(30.0)
    producer.begin_transaction()
    producer.produce(place.topic, b"value")
    assert producer.flush(30.0) == 0
    # When the ends of what is committed, and of what is there, are asked for
    levels = ("read_committed", "read_uncommitted")
    consumers = [Consumer(servers | {"group.id": "any", "isolation.level": level}) for level in levels]
    found = [watermarks(consumer, place, 30.0) for consumer in consumers]
    # Then only the second has it
    assert found == [(0, 0), (0, 1)]
    producer.abort_transaction()
    for consumer in consumers:
        consumer.close()


def test_metadata_that_comes_in_meanwhile_ends_nobody(kafka: LocalKafka) -> None:
    name = topic(kafka, "watermarks-busy")
    command = [sys.executable, "-c", ASK, kafka.bootstrap_servers, name, str(SECONDS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 100
