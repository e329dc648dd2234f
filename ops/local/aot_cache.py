"""Java's ahead-of-time cache for Kafka (JEP 483, 514 and 515): what a training run taught it, for all later ones.

With it a node begins with its classes loaded and linked, and knows from its first second which methods are worth compiling.
Who starts many nodes, or measures one, makes it first; for a single start it costs more than it gains.
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

# Of a broker's usual work.
_TRAINING_SECONDS = 10.0
# Java ends, and begins once more to write the cache: seconds on an idle machine.
_WRITING_SECONDS = 180.0
_PARTITIONS = 12
_BATCH = 200
_CALL_SECONDS = 30.0

log = logging.getLogger(__name__)


def ensure_aot_cache() -> None:
    """Make the cache where it is missing, in half a minute; where that fails, say so: Kafka runs without, too."""
    from confluent_kafka import KafkaException

    try:
        made_once(aot_cache_name(), _made)
    except (LocalError, KafkaException) as error:
        log.warning("Kafka will start more slowly, Java made no cache for it: %s", error)


def _made(scratch: Path) -> Path:
    print("Having Java learn Kafka, once (half a minute) …", file=sys.stderr)  # noqa: T201
    kept = scratch / "kept"
    kept.mkdir()
    cache = kept / AOT_CACHE
    # By all its compilers, also where the nodes to come have fewer: only what is compiled for good is profiled first.
    options = [f"-XX:AOTCacheOutput={cache}", "-XX:TieredStopAtLevel=4"]
    with LocalKafka(scratch / "kafka", java_options=options) as server:
        _train(server.bootstrap_servers, _TRAINING_SECONDS)
        server.process(1).stop(_WRITING_SECONDS)
        if not cache.is_file():
            raise LocalError(f"it wrote none.{server.process(1).log_tail()}")
    return kept


def _train(servers: str, seconds: float) -> None:
    """Consume, and answer in transactions that hold the offsets, as a worker does; read what is committed."""
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    settings = KafkaSettings(bootstrap_servers=servers)
    admin = AdminClient(kafka.admin(settings))
    topics = [NewTopic(name, num_partitions=_PARTITIONS) for name in ("events", "answers")]
    for created in admin.create_topics(topics).values():
        created.result(_CALL_SECONDS)
    from_the_start = {"auto.offset.reset": "earliest"}
    consumer = Consumer(kafka.reader(settings, "training", from_the_start))
    reader = Consumer(kafka.reader(settings, "reader", from_the_start))
    consumer.subscribe(["events"])
    reader.subscribe(["answers"])
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
                sink.produce("answers", b"a" * 500, event.key())
            sink.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), _CALL_SECONDS
            )
            sink.commit_transaction(_CALL_SECONDS)
        reader.consume(_BATCH, 0)
    consumer.close()
    reader.close()
