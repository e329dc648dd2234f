"""quix-streams: `PYTHON -m tests.bench.peers.quix RELEASE COLLECTION GROUP MODE`.

Its dataframes go one record at a time; its idiom for work in batches is a sink, which is handed everything since the
last checkpoint. This one takes all partitions together and produces, as its own Kafka sink does, at least once.
"""

import sys
from typing import Any

from confluent_kafka import Producer
from quixstreams import Application
from quixstreams.models import Topic
from quixstreams.sinks import BaseSink

from schemas.settings import load_settings
from tests.bench.job import Job, Received

_BATCH = 1_024
_CHECKPOINT_SECONDS = 0.005


class Recommendations(BaseSink):  # type: ignore[misc]
    """Answers all events since the last checkpoint in one call."""

    def __init__(self, job: Job, producer: Producer, topic: str) -> None:
        super().__init__()
        self._job, self._producer, self._topic = job, producer, topic
        self._waiting: list[tuple[Any, Received]] = []

    def add(
        self,
        value: Any,
        key: Any,
        timestamp: int,  # noqa: ARG002
        headers: Any,  # noqa: ARG002
        topic: str,
        partition: int,
        offset: int,
    ) -> None:
        self._waiting.append((key, Received(value, topic, partition, offset)))

    def flush(self) -> None:
        if not self._waiting:
            return
        results = self._job.answer([event for _, event in self._waiting])
        for (key, _), result in zip(self._waiting, results, strict=True):
            self._producer.produce(self._topic, result, key)
        self._waiting.clear()
        if self._producer.flush():
            raise RuntimeError("results could not be delivered")

    def on_paused(self) -> None:
        self._waiting.clear()


def main() -> None:
    settings = load_settings()
    names, servers = settings.names, settings.kafka.bootstrap_servers
    app = Application(
        broker_address=servers,
        consumer_group=sys.argv[3],
        auto_offset_reset="earliest",
        commit_every=_BATCH,
        commit_interval=_CHECKPOINT_SECONDS,
        consumer_poll_timeout=_CHECKPOINT_SECONDS,
        consumer_extra_config={"fetch.wait.max.ms": 5, "fetch.queue.backoff.ms": 2},
        loglevel="WARNING",
        auto_create_topics=False,
        use_changelog_topics=False,
    )
    profiles: Topic = app.topic(names.profiles, key_deserializer="bytes", value_deserializer="bytes")
    producer = Producer({"bootstrap.servers": servers, "compression.type": "lz4", "linger.ms": 0})
    app.dataframe(profiles).sink(Recommendations(Job.from_command_line(), producer, names.recommendations))
    app.run()


if __name__ == "__main__":
    main()
