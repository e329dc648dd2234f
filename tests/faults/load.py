"""The load: events with unique ids at a steady rate, each acknowledged by the broker."""

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer

from tests.faults.checker import Kind, Sent
from tests.faults.raw import Pairs, RawProducer
from tests.faults.reading import QUICK_TO_NOTICE, digest_of

# Longer than any outage of the suite: an abandoned event would be of unknown outcome.
DELIVERY_SECONDS = 900
_TICK_SECONDS = 0.1


CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass(frozen=True)
class Raw:
    """Headers, timestamp and codec of an event that only unusual producers send."""

    headers: Pairs = ()
    timestamp_ms: int = 0  # 0: now
    codec: str = "none"


@dataclass(frozen=True)
class Draft:
    """An event before it is sent; `ends_in` is the required kind of result, None for either.

    `key_tail` makes the key longer, or no text; the part before it is the event's alone. `keyless` sends a null key.
    """

    key: str
    value: bytes | None
    ends_in: Kind | None
    raw: Raw | None = None
    key_tail: bytes = b""
    keyless: bool = False


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
    """Sends events until `finish`; `sent` are the acknowledged ones."""

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
        self.unacknowledged: set[bytes | None] = set()
        self._options: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "message.timeout.ms": DELIVERY_SECONDS * 1_000,
            "log_level": 0,
            **QUICK_TO_NOTICE,
        }
        self._producer = Producer(self._options)
        self._raw: dict[str, RawProducer] = {}  # by codec, of what drafts ask for

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
        for producer in self._raw.values():
            producer.flush(DELIVERY_SECONDS)
            producer.close()

    def finish(self, events: int) -> None:
        """Send the rest of so many events, and end when all are acknowledged."""
        self._wanted = events
        self._finishing.set()
        self.join()

    def _send(self) -> None:
        draft = self._make(f"{self._name}-{self._made}", self._chance)
        self._made += 1
        key = None if draft.keyless else draft.key.encode() + draft.key_tail
        event_id = draft.key if draft.keyless else None
        receipt = _Receipt(self, key, digest_of(draft.value), draft.ends_in, event_id)
        while True:
            try:
                if draft.raw is None:
                    self._producer.produce(self._topic, draft.value, key, on_delivery=receipt)
                else:
                    self._send_raw(draft.raw, draft.value, key, receipt)
                return
            except BufferError:  # brokers are away, and the local queue is full
                self._producer.poll(0.1)

    def _send_raw(self, raw: Raw, value: bytes | None, key: bytes | None, receipt: "_Receipt") -> None:
        producer = self._raw.get(raw.codec)
        if producer is None:
            producer = self._raw[raw.codec] = RawProducer(self._options | {"compression.type": raw.codec})
        producer.poll(0)
        producer.produce(
            self._topic, value, key, raw.headers, timestamp_ms=raw.timestamp_ms, on_delivery=receipt.note
        )


@dataclass(frozen=True)
class _Receipt:
    """Notes what became of one event; the client's own message would keep its bytes."""

    load: Load = field(repr=False)
    key: bytes | None
    digest: bytes | None
    ends_in: Kind | None
    event_id: str | None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self.note(error, message.partition(), message.offset(), message.timestamp()[1])

    def note(self, error: object, partition: int | None, offset: int | None, made_at_ms: int) -> None:
        if error is not None or partition is None or offset is None:
            self.load.unacknowledged.add(self.key)
        else:
            made_at = made_at_ms / 1_000
            one = Sent(self.key, partition, offset, self.digest, self.ends_in, made_at, self.event_id)
            self.load.sent.append(one)
