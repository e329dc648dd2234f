"""The segment of each recommendation: its profile's gender and age group, read from the event that it answers."""

import sys
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import kafka
from schemas.kafka import watermarks
from schemas.profile import AGE_GROUPS, age_group
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.kafka.errors import Next, raise_if_final, rule, undecodable_at
from worker.kafka.undecodable import Skipping

UNKNOWN = "? ?"

_BATCH = 1_000
_SECONDS = 30.0
_END_SECONDS = 5.0  # one question for a partition's end
_IDLE_SECONDS = 1.0  # with nothing new: the end is asked for, whether the client tells of it or not
# Events between two that are asked for. A result may name any offset; further ahead than this the reader jumps instead of reading
# all that lies between.
_FAR = 100_000
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
        config = kafka.reader(
            settings.kafka,
            f"{settings.prefix}outcomes",
            {"auto.offset.reset": "earliest", "enable.partition.eof": True},
        )
        self._consumer = Consumer(config)
        self._skipping = Skipping(config, self._consumer)
        self._next: dict[int, int] = {}
        self._asked: dict[int, int] = {}  # the last offset of each partition
        self._flowing: set[int] = set()
        self._read: dict[Place, str] = {}

    def of(self, places: Iterable[Place]) -> list[str]:
        """The segments of the events at these places; UNKNOWN where one is gone, or was never in this topic.

        They are in ascending order within a partition, but where the topic was made anew.

        Raises:
            AbortedError, UnreachableError: Kafka does not answer.
        """
        return [segment for ascending in _ascending(places) for segment in self._of(ascending)]

    def _of(self, asked: list[Place]) -> list[str]:
        last, first = dict(asked), dict(reversed(asked))
        for partition, offset in first.items():
            before = offset < self._asked.get(partition, -1)  # results of another topic came before
            if before or offset > self._next.get(partition, offset) + _FAR:
                self._forget(partition)
        self._asked |= last
        self._read_past(last, first)
        found = [self._read.pop(place, UNKNOWN) for place in asked]
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

    def _read_past(self, wanted: dict[int, int], first: dict[int, int]) -> None:
        wanted = self._begin(wanted, first)
        self._let_flow({partition for partition, offset in wanted.items() if self._next[partition] <= offset})
        deadline = time.monotonic() + _SECONDS
        gone: set[int] = set()
        heard_at = time.monotonic()
        while missing := [p for p, offset in wanted.items() if p not in gone and self._next[p] <= offset]:
            if time.monotonic() > deadline:
                raise AbortedError(f"{self._topic}-{missing[0]} could not be read up to {wanted[missing[0]]}")
            messages = self._consumer.consume(_BATCH, 0.05)
            ended = {self._take(message) for message in messages}
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() > heard_at + _IDLE_SECONDS:
                ended, heard_at = set(missing), time.monotonic()
            gone |= {p for p in ended & wanted.keys() if p is not None and self._ends_before(p, wanted[p])}
        for partition in gone:  # read again from where the next is asked for
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            del self._next[partition]
        self._flowing -= gone

    def _begin(self, wanted: dict[int, int], first: dict[int, int]) -> dict[int, int]:
        """Begin with partitions that are new here; without those that the topic does not have, or that end before.

        Where nothing is at an offset, the client would read the partition from its beginning.
        """
        new = wanted.keys() - self._next.keys()
        if not new:
            return wanted
        try:
            seen = (
                self._consumer.list_topics(self._topic, timeout=_END_SECONDS).topics[self._topic].partitions
            )
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            raise AbortedError(f"the partitions of {self._topic}: {exception.args[0].str()}") from None
        for partition in new & seen.keys():
            if self._ends_before(partition, first[partition]):
                continue
            self._next[partition] = first[partition]
            self._consumer.incremental_assign([TopicPartition(self._topic, partition, first[partition])])
        return {partition: offset for partition, offset in wanted.items() if partition in self._next}

    def _forget(self, partition: int) -> None:
        if partition in self._next:
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            del self._next[partition]
        self._flowing.discard(partition)
        self._asked.pop(partition, None)
        self._read = {place: segment for place, segment in self._read.items() if place[0] != partition}

    def _take(self, message: Message) -> int | None:
        """Take a record in; the partition, where it seems to hold no more."""
        partition, offset, error = message.partition(), message.offset(), message.error()
        assert partition is not None and offset is not None
        if error is None:
            self._read[partition, offset] = segment_of(message.value())
            self._next[partition] = offset + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            self._next[partition] = max(self._next[partition], offset)
            return partition
        elif Next.MISSING in rule(error).next:
            return partition
        elif (first := undecodable_at(message)) is not None:
            if skipped := self._skipping.skip(message, first):
                self._next[partition] = max(self._next[partition], skipped[1])
        else:
            raise_if_final(error)
        return None

    def _ends_before(self, partition: int, offset: int) -> bool:
        """Whether the partition has no such offset: its result answers an event of another topic of this name.

        The broker is asked, because the end that a reader has met may be of an earlier moment.
        """
        try:
            if self._next.get(partition, 0) > offset:
                return False
            place = TopicPartition(self._topic, partition)
            return watermarks(self._consumer, place, _END_SECONDS)[1] <= offset
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return Next.MISSING in rule(exception.args[0]).next


def _ascending(places: Iterable[Place]) -> Iterator[list[Place]]:
    """The places in runs whose offsets ascend within each partition, and not by far."""
    run: list[Place] = []
    last: dict[int, int] = {}
    for partition, offset in places:
        before = last.get(partition)
        if before is not None and not before < offset <= before + _FAR:
            yield run
            run, last = [], {}
        run.append((partition, offset))
        last[partition] = offset
    if run:
        yield run


def segment_of(value: bytes | None) -> str:
    """Gender and age group of a profile event's bytes, as in `F 25-34`."""
    try:
        event = orjson.loads(value or b"{}")
        gender, age = event.get("gender"), event.get("age")
    except (ValueError, AttributeError):
        return UNKNOWN
    group = _AGES[age_group(age)] if isinstance(age, int) and age >= 0 else "?"
    return sys.intern(f"{gender if gender in ('F', 'M') else '?'} {group}")
