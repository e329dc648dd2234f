"""The segment of each result, the gender and age group in its event, which is read from `profiles`."""

import sys
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
from worker.monitoring.waiting import Deadline

UNKNOWN = "? ?"

_BATCH = 1_000
_SECONDS = 30.0
_END_SECONDS = 5.0  # one query of a partition's end
_IDLE_SECONDS = 1.0  # without a record, after which the end is queried: the client may not report it
# A result may name any offset. The reader seeks where the next offset is further ahead than this, and reads what lies between
# otherwise.
_FAR = 100_000
_AGES = (
    f"-{AGE_GROUPS[1] - 1}",
    *(f"{first}-{after - 1}" for first, after in pairwise(AGE_GROUPS[1:])),
    f"{AGE_GROUPS[-1]}+",
)

Source = tuple[int, int]  # partition and offset of an event


class Segments:
    """Reads `profiles` beside the results, each record once; forgets a segment once it was returned."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.names.profiles
        config = kafka.reader(
            settings.kafka,
            settings.names.outcomes_group,
            {"auto.offset.reset": "earliest", "enable.partition.eof": True},
        )
        self._consumer = Consumer(config)
        self._skipping = Skipping(config, self._consumer)
        self._next: dict[int, int] = {}  # the next offset of each assigned partition
        self._asked: dict[int, int] = {}  # the last offset that was asked for
        self._flowing: set[int] = set()  # partitions that are not paused
        self._read: dict[Source, str] = {}

    def of(self, sources: Iterable[Source]) -> list[str]:
        """The segments of events; UNKNOWN for an event that is gone, or never was in this topic.

        Offsets ascend within a partition, unless the topic was recreated.

        Raises:
            AbortedError, UnreachableError: Kafka does not answer.
        """
        return [segment for run in _ascending(sources) for segment in self._of(run)]

    def close(self) -> None:
        self._consumer.close()

    def _of(self, run: list[Source]) -> list[str]:
        last, first = dict(run), dict(reversed(run))
        for partition, offset in first.items():
            back = offset < self._asked.get(partition, -1)  # the last results were of another topic
            if back or offset > self._next.get(partition, offset) + _FAR:
                self._forget(partition)
        self._asked |= last
        self._read_past(last, first)
        segments = [self._read.pop(source, UNKNOWN) for source in run]
        # Events that became dead letters are never asked for.
        for source in [source for source in self._read if source[1] <= last.get(source[0], -1)]:
            del self._read[source]
        return segments

    def _read_past(self, last: dict[int, int], first: dict[int, int]) -> None:
        """Read each partition past its last offset, or to its end."""
        self._assign(first)
        wanted = {partition: offset for partition, offset in last.items() if partition in self._next}
        self._let_flow({partition for partition, offset in wanted.items() if self._next[partition] <= offset})
        deadline, silence = Deadline(_SECONDS), Deadline(_IDLE_SECONDS)
        gone: set[int] = set()
        while behind := {p for p, offset in wanted.items() if p not in gone and self._next[p] <= offset}:
            if deadline.passed:
                partition = min(behind)
                raise AbortedError(f"{self._topic}-{partition} could not be read up to {wanted[partition]}")
            messages = self._consumer.consume(_BATCH, 0.05)
            ended = {self._take(message) for message in messages}
            if messages:
                silence = Deadline(_IDLE_SECONDS)
            elif silence.passed:
                ended, silence = set(behind), Deadline(_IDLE_SECONDS)
            gone |= {p for p in ended & wanted.keys() if p is not None and self._ends_before(p, wanted[p])}
        for partition in gone:  # a later run assigns it again, at its own first offset
            self._unassign(partition)

    def _assign(self, first: dict[int, int]) -> None:
        """Assign partitions that are not, unless they do not exist or end before their first offset.

        At an offset that does not exist the client would read the partition from its beginning.
        """
        new = first.keys() - self._next.keys()
        if not new:
            return
        try:
            topics = self._consumer.list_topics(self._topic, timeout=_END_SECONDS).topics
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            raise AbortedError(f"the partitions of {self._topic}: {exception.args[0].str()}") from None
        for partition in new & topics[self._topic].partitions.keys():
            if not self._ends_before(partition, first[partition]):
                self._next[partition] = first[partition]
                self._consumer.incremental_assign([TopicPartition(self._topic, partition, first[partition])])

    def _unassign(self, partition: int) -> None:
        if self._next.pop(partition, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._flowing.discard(partition)

    def _forget(self, partition: int) -> None:
        self._unassign(partition)
        self._asked.pop(partition, None)
        self._read = {source: segment for source, segment in self._read.items() if source[0] != partition}

    def _let_flow(self, partitions: set[int]) -> None:
        """Pause all other partitions, whose records would pile up here."""
        pause, resume = self._flowing - partitions, partitions - self._flowing
        if pause:
            self._consumer.pause([TopicPartition(self._topic, partition) for partition in pause])
        if resume:
            self._consumer.resume([TopicPartition(self._topic, partition) for partition in resume])
        self._flowing = partitions

    def _take(self, message: Message) -> int | None:
        """Keep the segment of a record; returns the partition if it seems to have ended."""
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
        """Whether the partition lacks this offset: its result answers an event of an earlier topic of this name.

        Queries the broker, because the end that a reader has met may be out of date.
        """
        try:
            if self._next.get(partition, 0) > offset:
                return False
            return (
                watermarks(self._consumer, TopicPartition(self._topic, partition), _END_SECONDS)[1] <= offset
            )
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            return Next.MISSING in rule(exception.args[0]).next


def _ascending(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Runs whose offsets ascend within each partition, in steps of at most `_FAR`."""
    run: list[Source] = []
    last: dict[int, int] = {}
    for partition, offset in sources:
        before = last.get(partition)
        if before is not None and not before < offset <= before + _FAR:
            yield run
            run, last = [], {}
        run.append((partition, offset))
        last[partition] = offset
    if run:
        yield run


def segment_of(value: bytes | None) -> str:
    """Gender and age group of a profile event, as in `F 25-34`."""
    try:
        event = orjson.loads(value or b"{}")
        gender, age = event.get("gender"), event.get("age")
    except (ValueError, AttributeError):
        return UNKNOWN
    group = _AGES[age_group(age)] if isinstance(age, int) and age >= 0 else "?"
    return sys.intern(f"{gender if gender in ('F', 'M') else '?'} {group}")
