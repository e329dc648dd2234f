"""The segment of each recommendation: its profile's gender and age group, read from the event that it answers."""

import sys
import time
from collections.abc import Iterable
from itertools import pairwise

import orjson
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas import kafka
from schemas.profile import AGE_GROUPS, age_group
from schemas.settings import Settings
from worker.errors import UndoneError
from worker.publish import raise_if_final

UNKNOWN = "? ?"

_BATCH = 1_000
_SECONDS = 30.0
_AGES = (
    f"-{AGE_GROUPS[1] - 1}",
    *(f"{first}-{after - 1}" for first, after in pairwise(AGE_GROUPS[1:])),
    f"{AGE_GROUPS[-1]}+",
)

Place = tuple[int, int]  # partition and offset of an event


class Segments:
    """Reads `profiles` beside the recommendations, each record once; remembers none that was asked for."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.names.profiles
        self._consumer = Consumer(
            kafka.reader(
                settings.kafka,
                f"{settings.prefix}outcomes",
                {"auto.offset.reset": "earliest", "enable.partition.eof": True},
            )
        )
        self._next: dict[int, int] = {}
        self._flowing: set[int] = set()
        self._read: dict[Place, str] = {}

    def of(self, places: Iterable[Place]) -> list[str]:
        """The segments of the events at these places, in ascending order within a partition; UNKNOWN where one is gone.

        Raises:
            UndoneError: Kafka does not answer.
        """
        asked = list(places)
        self._read_past(asked)
        found = [self._read.pop(place, UNKNOWN) for place in asked]
        last = dict(asked)
        # What became dead letters is never asked for.
        for place in [place for place in self._read if place[1] <= last.get(place[0], -1)]:
            del self._read[place]
        return found

    def close(self) -> None:
        self._consumer.close()

    def _let_flow(self, partitions: set[int]) -> None:
        """Only from these: what nobody asks for would pile up here."""
        still, go = self._flowing - partitions, partitions - self._flowing
        if still:
            self._consumer.pause([TopicPartition(self._topic, partition) for partition in still])
        if go:
            self._consumer.resume([TopicPartition(self._topic, partition) for partition in go])
        self._flowing = partitions

    def _read_past(self, places: list[Place]) -> None:
        wanted = dict(places)
        first = dict(reversed(places))
        for partition in wanted.keys() - self._next.keys():
            self._next[partition] = first[partition]
            self._consumer.incremental_assign([TopicPartition(self._topic, partition, first[partition])])
        self._let_flow({partition for partition, offset in wanted.items() if self._next[partition] <= offset})
        deadline = time.monotonic() + _SECONDS
        while missing := [p for p, offset in wanted.items() if self._next[p] <= offset]:
            if time.monotonic() > deadline:
                raise UndoneError(f"{self._topic}-{missing[0]} could not be read up to {wanted[missing[0]]}")
            for message in self._consumer.consume(_BATCH, 0.05):
                self._take(message)

    def _take(self, message: Message) -> None:
        partition, offset, error = message.partition(), message.offset(), message.error()
        assert partition is not None and offset is not None
        if error is None:
            self._read[partition, offset] = segment_of(message.value())
            self._next[partition] = offset + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], offset)
        else:
            raise_if_final(error)


def segment_of(value: bytes | None) -> str:
    """Gender and age group of a profile event's bytes, as in `F 25-34`."""
    try:
        event = orjson.loads(value or b"{}")
        gender, age = event.get("gender"), event.get("age")
    except (ValueError, AttributeError):
        return UNKNOWN
    group = _AGES[age_group(age)] if isinstance(age, int) and age >= 0 else "?"
    return sys.intern(f"{gender if gender in ('F', 'M') else '?'} {group}")
