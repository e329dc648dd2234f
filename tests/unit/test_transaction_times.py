"""The Kafka clients' options go together: librdkafka refuses a client where they do not, or acts on another than was meant."""

from confluent_kafka import Consumer, Producer

from schemas import kafka
from schemas.settings import load_settings

SHORTEST_SESSION_MS = 16_000


def test_the_shortest_session_leaves_room_for_a_transaction_and_a_request_in_it() -> None:
    settings = load_settings(worker={"session_timeout_ms": SHORTEST_SESSION_MS})
    transaction_ms = settings.worker.transaction_timeout_ms

    config = kafka.transactional_producer(settings.kafka, "worker", transaction_ms)

    Producer(config)
    Consumer(kafka.worker_consumer(settings)).close()
    assert config["socket.timeout.ms"] < transaction_ms < SHORTEST_SESSION_MS
