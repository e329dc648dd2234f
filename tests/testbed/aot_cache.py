"""Java's ahead-of-time cache for Kafka (JEP 483, 514 and 515), made by one training run.

A node with the cache starts with its classes loaded and linked, and with profiles of its methods. It pays off for many starts.
"""

import logging
import sys
import time
from pathlib import Path

from ops.local.cache import made_once
from ops.local.java import AOT_CACHE, aot_cache_name
from ops.local.kafka import LocalKafka
from ops.local.process import LocalError
from schemas import kafka
from schemas.settings import KafkaSettings

# Duration of the training run's load.
_TRAINING_SECONDS = 10.0
# Java ends, and starts once more to write the cache: seconds on an idle machine.
_WRITING_SECONDS = 180.0
_PARTITIONS = 12
_BATCH = 200
_CALL_SECONDS = 30.0

log = logging.getLogger(__name__)


def ensure_aot_cache() -> None:
    """Make the cache if it is missing, in half a minute. Without it Kafka only starts more slowly."""
    from confluent_kafka import KafkaException

    try:
        made_once(aot_cache_name(), _made)
    except (LocalError, KafkaException) as error:
        log.warning("Kafka will start more slowly, because Java made no cache: %s", error)


def _made(scratch: Path) -> Path:
    print("Making Java's cache for Kafka, once (half a minute) …", file=sys.stderr)
    kept = scratch / "kept"
    kept.mkdir()
    cache = kept / AOT_CACHE
    # Every compiler, because only methods of the last one get profiles in the cache.
    options = [f"-XX:AOTCacheOutput={cache}", "-XX:TieredStopAtLevel=4"]
    with LocalKafka(scratch / "kafka", java_options=options) as server:
        _train(server.bootstrap_servers, _TRAINING_SECONDS)
        server.process(1).stop(_WRITING_SECONDS)
        if not cache.is_file():
            raise LocalError(f"Java wrote none.{server.process(1).log_tail()}")
    return kept


def _train(servers: str, seconds: float) -> None:
    """Consume events, publish results with offsets in transactions, and read them, as a worker and a reader do."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    settings = KafkaSettings(bootstrap_servers=servers)
    admin = AdminClient(kafka.admin(settings))
    topics = [NewTopic(name, num_partitions=_PARTITIONS) for name in ("events", "results")]
    for created in admin.create_topics(topics).values():
        created.result(_CALL_SECONDS)
    from_the_start = {"auto.offset.reset": "earliest"}
    consumer = Consumer(kafka.reader(settings, "training", from_the_start))
    reader = Consumer(kafka.reader(settings, "reader", from_the_start))
    consumer.subscribe(["events"])
    reader.subscribe(["results"])
    source = Producer(kafka.producer(settings))
    sink = Producer(kafka.transactional_producer(settings, "training", int(_CALL_SECONDS * 1_000)))
    sink.init_transactions(_CALL_SECONDS)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for number in range(_BATCH):
            source.produce("events", b"e" * 300, str(number).encode())
        source.poll(0)
        events = [event for event in consumer.consume(_BATCH, 0.05) if event.error() is None]
        if events:
            sink.begin_transaction()
            for event in events:
                sink.produce("results", b"r" * 500, event.key())
            sink.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), _CALL_SECONDS
            )
            sink.commit_transaction(_CALL_SECONDS)
        reader.consume(_BATCH, 0)
    consumer.close()
    reader.close()
