"""bytewax: `PYTHON -m tests.bench.peers.bytewax_flow RELEASE COLLECTION GROUP MODE`.

Its Kafka source gives batches, one partition at a time, and an operator takes each as it is. Without recovery, so that
nothing is written but the results; it would be at least once with it.
"""

import sys

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from confluent_kafka import OFFSET_STORED

from schemas.settings import load_settings
from tests.bench.job import Job, Received

# Per partition. It reads all partitions before it answers: 3,000 events at a time.
_BATCH = 256


def main() -> None:
    settings = load_settings()
    names, job = settings.names, Job.from_command_line()
    brokers = settings.kafka.bootstrap_servers.split(",")

    def recommend(messages: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
        if not messages:
            return []
        events = [
            Received(message.value, message.topic, message.partition, message.offset) for message in messages
        ]
        return [
            KafkaSinkMessage(message.key, result)
            for message, result in zip(messages, job.answer(events), strict=True)
        ]

    flow = Dataflow("recommend")
    consumer = {"group.id": sys.argv[3], "fetch.wait.max.ms": "5", "fetch.queue.backoff.ms": "2"}
    profiles = kop.input(
        "profiles",
        flow,
        brokers=brokers,
        topics=[names.profiles],
        starting_offset=OFFSET_STORED,
        add_config=consumer,
        batch_size=_BATCH,
    )
    results = op.flat_map_batch("answer", profiles.oks, recommend)
    kop.output(
        "results",
        results,
        brokers=brokers,
        topic=names.recommendations,
        add_config={"compression.type": "lz4", "linger.ms": "0"},
    )
    cluster_main(flow, [], 0)


if __name__ == "__main__":
    main()
