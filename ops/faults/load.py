"""The load: events with unique ids at a steady rate, and the broker's word for each of them."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

from ops.faults.checker import Kind, Sent
from ops.faults.reading import QUICK_TO_NOTICE
from ops.faults.records import digest_of

# Longer than any outage that the suite makes: an event that is given up would be one that nobody knows about.
DELIVERY_SECONDS = 900
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Draft:
    """An event before it is sent; `ends_in` is what it must end in, None where either is right."""

    key: str
    value: bytes | None
    ends_in: Kind | None


MakeEvent = Callable[[str, random.Random], Draft]


def sound_event(event_id: str, chance: random.Random) -> Draft:
    """A profile as an application sends it."""
    event = {
        "event_id": event_id,
        "user_id": chance.randint(1, 6_000),
        "gender": chance.choice("FM"),
        "age": chance.randint(1, 90),
        "occupation": chance.randint(0, 20),
        "recent": [chance.randint(1, 4_000) for _ in range(chance.randint(0, 10))],
        "k": chance.randint(1, 10),
    }
    return Draft(event_id, json.dumps(event).encode(), "recommendation")


class Load(threading.Thread):
    """Sends events until it is told to finish; `sent` is what the brokers acknowledged."""

    def __init__(
        self, bootstrap_servers: str, topic: str, *, rate: float, seed: int, make: MakeEvent = sound_event
    ) -> None:
        """`rate` in events a second."""
        super().__init__(name="load", daemon=True)
        self._topic = topic
        self._rate = rate
        self._make = make
        self._name = f"{seed:x}-{time.time_ns():x}"
        self._chance = random.Random(seed)
        self._finishing = threading.Event()
        self._wanted = 0
        self._made = 0
        self.sent: list[Sent] = []
        self.unacknowledged: set[bytes] = set()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.timeout.ms": DELIVERY_SECONDS * 1_000,
                "log_level": 0,
            }
            | QUICK_TO_NOTICE
        )

    def run(self) -> None:
        """Send, and wait for the acknowledgement of everything."""
        began = time.monotonic()
        while not self._finishing.is_set():
            due = int((time.monotonic() - began) * self._rate) - self._made
            for _ in range(due):
                self._send()
            self._producer.poll(_TICK_SECONDS)
        while self._made < self._wanted:
            self._send()
            self._producer.poll(0)
        self._producer.flush(DELIVERY_SECONDS)

    def finish(self, events: int) -> None:
        """Send what is missing to so many events, and end when all are acknowledged."""
        self._wanted = events
        self._finishing.set()
        self.join()

    def _send(self) -> None:
        draft = self._make(f"{self._name}-{self._made}", self._chance)
        self._made += 1
        receipt = _Receipt(self, draft.key.encode(), digest_of(draft.value), draft.ends_in)
        while True:
            try:
                self._producer.produce(self._topic, draft.value, draft.key, on_delivery=receipt)
                return
            except BufferError:  # brokers are away, and the local queue is full
                self._producer.poll(0.1)


@dataclass(frozen=True)
class _Receipt:
    """Notes what became of one event; the client's own message would keep its bytes."""

    load: Load = field(repr=False)
    key: bytes
    digest: bytes | None
    ends_in: Kind | None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self.load.unacknowledged.add(self.key)
        else:
            made_at = message.timestamp()[1] / 1_000
            self.load.sent.append(Sent(self.key, partition, offset, self.digest, self.ends_in, made_at))
