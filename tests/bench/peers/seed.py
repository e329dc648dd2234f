"""The seed's way: `python -m tests.bench.peers.seed RELEASE COLLECTION GROUP MODE`, one embedding and one search a person."""

import sys

from confluent_kafka import Consumer, KafkaError, Message, Producer

from schemas import kafka
from schemas.settings import load_settings
from tests.bench.job import Job, Received
from worker.process import Stopping, on_signals


def main() -> None:
    """Answer one event after the other, at least once, until SIGTERM."""
    settings = load_settings()
    stopping = Stopping()
    on_signals(stopping.set)
    job = Job.from_command_line()
    consumer = Consumer(
        kafka.reader(settings.kafka, sys.argv[3], {"enable.auto.commit": True, "auto.offset.reset": "error"})
    )
    producer = Producer(kafka.producer(settings.kafka, {"linger.ms": 0}))
    consumer.subscribe([settings.names.profiles])
    while not stopping.is_set():
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            _answer(job, consumer, producer, settings.names.recommendations, message)
        producer.poll(0)
    producer.flush()
    consumer.close()


def _answer(job: Job, consumer: Consumer, producer: Producer, topic: str, message: Message) -> None:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is None:
            consumer.store_offsets(message=message)

    (result,) = job.answer([received(message)])
    producer.produce(topic, result, message.key(), on_delivery=delivered)


def received(message: Message) -> Received:
    """A consumed record, which has all of these."""
    return Received(message.value(), message.topic(), message.partition(), message.offset())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
