"""The ends of partitions, read by a second client: the last answered events, and transaction markers behind the last event.

A coordinator that is loading a group may return no offsets, or older ones (docs/exactly-once.md). Every event ends in exactly one
record, in order, in the partition of its own number. So the last record of `recommendations` or `dead-letters` names the last
answered event of its partition, a cross-check of the committed offsets.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas import dead_letter, kafka
from schemas.headers import headers_of
from schemas.kafka import watermarks
from schemas.settings import Settings
from worker.events import Partition, partition_of
from worker.kafka.errors import raise_if_final
from worker.monitoring.statistics import LagMetrics
from worker.monitoring.waiting import Deadline
from worker.stream.session import Member

log = logging.getLogger(__name__)

# Offsets to read of each partition. Aborted records, transaction markers and dead letters of feedback take offsets as well; where
# nothing else is found, more is read. Past `_ENOUGH` a topic that the deadline interrupts is left out, and past `_MOST` each topic.
_LAST = 16
_MORE = 32
_ENOUGH = 16_384
_MOST = 524_288
_BATCH = 1_000
_POLL_SECONDS = 0.05
_LOG_CRITICAL = 2
# RD_KAFKA_OFFSET_TAIL(n) of rdkafka.h, the offset n before a partition's end, is this less n.
_TAIL_BASE = -2_000
# Clocks of producers and brokers are less than half a minute apart (docs/exactly-once.md).
_CLOCKS_MS = 60_000
# Between two looks for transaction markers, and for one look.
_AGAIN_SECONDS = 5.0
_READ_SECONDS = 5.0

Tail = tuple[int, int]  # a position, and the end of its partition where no event lies between


@dataclass(frozen=True, slots=True)
class Answered:
    """The last event of a partition with a committed record: its offset and key, and the timestamp of the record."""

    offset: int
    key: bytes | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The last answered event of each partition that has one, and the errors of partitions that could not be read."""

    last: dict[int, Answered]
    unread: dict[int, KafkaError]
    missing: dict[int, str]
    """Partitions that an output topic lacks, with the topic's name: nothing is answered there."""


class AnsweredReader:
    """Reads the ends of both output topics. One thread at a time; joins no group, and commits nothing."""

    def __init__(self, settings: Settings) -> None:
        names = settings.names
        self._profiles = names.profiles
        self._topics = (names.recommendations, names.dead_letters)
        self._consumer = Consumer(
            kafka.reader(
                settings.kafka,
                names.worker_group,
                {
                    "auto.offset.reset": "earliest",
                    "enable.partition.eof": True,
                    "log_level": _LOG_CRITICAL,
                    # It reads from every leader, and a first assignment must not wait for connections.
                    "enable.sparse.connections": False,
                },
            )
        )

    def look(
        self, partitions: Iterable[int], timeout_s: float, since: Mapping[Partition, int] | None = None
    ) -> Reading:
        """The last answered event of each of these partitions; a partition without a leader delays no other.

        Args:
            since: offsets of both topics; records before them answer events of an earlier `profiles`.

        Raises:
            KafkaException: the brokers did not return the partitions of the topics in time.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        deadline = Deadline(timeout_s)
        since = since or {}
        counts = self._look_up(deadline)
        asked = [(topic, partition) for partition in partitions for topic in self._topics]
        missing = {partition: topic for topic, partition in asked if partition >= counts[topic]}
        left = {(topic, partition) for topic, partition in asked if partition < counts[topic]}
        last: dict[int, Answered] = {}
        unread: dict[int, KafkaError] = {}
        count = _LAST
        while left and count <= _MOST:
            records, ends, problem = self._read([(*place, _TAIL_BASE - count) for place in left], deadline)
            if count <= _ENOUGH:
                unread |= {partition: problem for _, partition in left - ends.keys()}
            oldest_ms: dict[Partition, int] = {}
            seen: set[Partition] = set()
            for record in records:
                place, partition = partition_of(record), partition_of(record)[1]
                oldest_ms.setdefault(place, record.timestamp()[1])
                answered = answered_by(record, self._profiles)
                if answered is not None and (record.offset() or 0) >= since.get(place, 0):
                    seen.add(place)
                    last[partition] = max(last.get(partition, answered), answered, key=lambda a: a.offset)
            left = {
                place
                for place in left - seen
                if place in ends
                and count < ends[place] - since.get(place, 0)
                and not _is_before(oldest_ms.get(place), last.get(place[1]))
            }
            count *= _MORE
        return Reading({p: a for p, a in last.items() if p not in unread}, unread, missing)

    def is_of(self, partition: int, answered: Answered, timeout_s: float) -> bool:
        """Whether the event is of this topic, and not of a deleted topic of its name; an event that retention removed is.

        Raises: as `look`.
        """
        deadline = Deadline(timeout_s)
        beginning, end = watermarks(self._consumer, TopicPartition(self._profiles, partition), timeout_s)
        if answered.offset < beginning:
            return True
        if answered.offset >= end:
            return False
        begin = [(self._profiles, partition, answered.offset)]
        events, ends, problem = self._read(begin, deadline, enough=1)
        if not events and not ends:
            raise KafkaException(problem)
        return any(
            event.key() == answered.key and event.timestamp()[1] <= answered.at_ms + _CLOCKS_MS
            for event in events[:1]
        )

    def close(self) -> None:
        self._consumer.close()

    def _look_up(self, deadline: Deadline) -> dict[str, int]:
        """The number of partitions of both topics.

        The request refreshes the leaders: by itself the client asks up to a second after a topic becomes known to it.
        """
        counts = {}
        for topic in self._topics:
            seen = self._consumer.list_topics(topic, timeout=max(0.1, deadline.left))
            counts[topic] = len(seen.topics[topic].partitions)
        return counts

    def _read(
        self, begin: Sequence[tuple[str, int, int]], deadline: Deadline, *, enough: float = float("inf")
    ) -> tuple[list[Message], Mapping[Partition, int], KafkaError]:
        """Records from these offsets to the end of each partition, or `enough` of them; these ends; and the error where one lacks."""
        records: list[Message] = []
        ends: dict[Partition, int] = {}
        problem = KafkaError(KafkaError._TIMED_OUT)
        self._consumer.assign([TopicPartition(*place) for place in begin])
        try:
            while len(ends) < len(begin) and len(records) < enough and not deadline.passed:
                # One record with the wait: `consume(n)` would wait for all n.
                messages = self._consumer.consume(1, _POLL_SECONDS)
                for message in messages + self._consumer.consume(_BATCH, 0):
                    error = message.error()
                    if error is None:
                        records.append(message)
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ends[partition_of(message)] = message.offset() or 0
                    else:
                        raise_if_final(error)
                        problem = error
        finally:
            self._consumer.unassign()
        return records, ends, problem


def _is_before(oldest_ms: int | None, last: Answered | None) -> bool:
    """Whether the records of one topic reach back before the last answer in the other, so that older ones answer older events."""
    return oldest_ms is not None and last is not None and oldest_ms < last.at_ms - _CLOCKS_MS


def answered_by(record: Message, profiles: str) -> Answered | None:
    """The event that a record of either topic answers; None where it answers no event of the same partition of `profiles`."""
    try:
        topic, partition, offset = _source(record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # a foreign record
    if (topic, partition) != (profiles, record.partition()):
        return None
    key = record.key()
    return Answered(offset, key.encode() if isinstance(key, str) else key, record.timestamp()[1])


def _source(record: Message) -> tuple[str, int, int]:
    header = dict(headers_of(record)).get(dead_letter.SOURCE)
    if header is not None:
        return dead_letter.place_of(header.decode() if isinstance(header, bytes) else header)
    source = orjson.loads(record.value() or b"")["source"]
    return source["topic"], int(source["partition"]), int(source["offset"])


class Tails:
    """Commits past transaction markers behind the last event, so that no tool counts them as lag.

    A marker takes an offset without an event. Where the group has committed the position after the last event, tools that compare
    offsets count a lag of one. A second client reads from the committed position to the end; where it finds no event, the end is
    committed. That is safe beside transactions: no batch is in flight, so no transaction of this worker contains offsets; the group
    refuses the commit of a partition that another member owns; and the position is compared again before.

    Used by the poll thread; `look` never waits.
    """

    def __init__(self, settings: Settings, member: Member, lag: LagMetrics) -> None:
        self._settings = settings
        self._member = member
        self._lag = lag
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tails")
        self._answer: Future[dict[int, Tail]] | None = None
        self._next_look = Deadline(0.0)

    def look(self) -> None:
        """Commit past the markers that were found, and look for others. Called while no batch is in flight.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if not self._next_look.passed:
            return
        if self._answer is None:
            behind = self._lag.behind()
            if behind:
                self._answer = self._thread.submit(self._read, behind)
            self._next_look = Deadline(0.1 if behind else _AGAIN_SECONDS)
        elif self._answer.done():
            answer, self._answer = self._answer, None
            self._next_look = Deadline(_AGAIN_SECONDS)
            self._commit(answer)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _commit(self, answer: Future[dict[int, Tail]]) -> None:
        topic, now = self._settings.names.profiles, self._lag.positions()
        try:
            tails = {n: end for n, (begin, end) in answer.result().items() if now.get(n) == begin}
            places = [TopicPartition(topic, number, end) for number, end in tails.items()]
            if places:
                self._member.commit(offsets=places, asynchronous=False)
                self._lag.committed(places)
        except KafkaException as exception:  # a rebalance, or brokers away: the next look repeats it
            raise_if_final(exception.args[0])
            log.info("positions behind transaction markers not committed: %s", exception.args[0].str())

    def _read(self, behind: Mapping[int, int]) -> dict[int, Tail]:
        """In the second thread."""
        names = self._settings.names
        own: kafka.Config = {
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": _LOG_CRITICAL,
        }
        reader = Consumer(kafka.reader(self._settings.kafka, names.worker_group, own))
        deadline = Deadline(_READ_SECONDS)
        left, found = set(behind), dict[int, Tail]()
        try:
            reader.assign([TopicPartition(names.profiles, number, at) for number, at in behind.items()])
            while left and not deadline.passed:
                for message in reader.consume(1, 0.1):
                    number, error = message.partition() or 0, message.error()
                    if number in left and error is not None and error.code() == KafkaError._PARTITION_EOF:
                        end = message.offset() or 0
                        if end > behind[number]:
                            found[number] = behind[number], end
                    left.discard(number)
        finally:
            reader.close()
        return found
