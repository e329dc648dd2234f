"""FastStream on confluent-kafka: `PYTHON -m tests.bench.peers.faststream_batch RELEASE COLLECTION GROUP MODE`.

A batch subscriber that acknowledges after its results are published: at least once.
"""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from faststream.confluent.annotations import KafkaMessage

from schemas.settings import load_settings
from tests.bench.job import Job, Received

_BATCH = 1_024
# `consume` waits for a whole batch or this long, so that this is most of the latency where little comes.
_POLLING_SECONDS = 0.005


def main() -> None:
    settings = load_settings()
    names, job = settings.names, Job.from_command_line()
    broker = KafkaBroker(
        settings.kafka.bootstrap_servers,
        config={
            "compression.codec": "lz4",
            "linger.ms": 0,
            "fetch.wait.max.ms": 5,
            "fetch.queue.backoff.ms": 2,
        },
        logger=None,
    )

    @broker.subscriber(  # type: ignore[untyped-decorator]
        names.profiles,
        group_id=sys.argv[3],
        batch=True,
        max_records=_BATCH,
        polling_interval=_POLLING_SECONDS,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK,
    )
    async def recommend(_: list[bytes], message: KafkaMessage) -> None:
        events = [
            Received(raw.value(), raw.topic(), raw.partition(), raw.offset()) for raw in message.raw_message
        ]
        # In a thread, because gRPC and Paddle release the lock of the interpreter.
        results = await asyncio.to_thread(job.answer, events)
        await broker.publish_batch(*results, topic=names.recommendations)

    asyncio.run(FastStream(broker, logger=None).run())


if __name__ == "__main__":
    main()
