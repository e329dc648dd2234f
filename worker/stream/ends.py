"""How far events are answered, as the committed answers themselves tell: a witness beside the group's offsets.

A group's coordinator may tell that there are no offsets, or older ones, while it is loading them (docs/exactly-once.md). Every
event ends in exactly one record, in order, in the partition of its own number; so behind the last record of `recommendations`
or `dead-letters` there is nothing answered, and before it nothing that is not.
"""

import logging
import time
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
from worker.stream.session import Member

log = logging.getLogger(__name__)

# Of each partition. Aborted records, the markers of transactions and the dead letters of feedback take offsets as well; where nothing
# else is found, more is read. Past `_ENOUGH` a topic that the deadline interrupts has no say, and past `_MOST` none has.
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

Tail = tuple[int, int]  # the position from which is read, and the end before which there is no event


@dataclass(frozen=True, slots=True)
class Answered:
    """The last event of a partition that has a committed answer: its offset, its key, and when the answer was written."""

    offset: int
    key: bytes | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The last answered event of each partition that has one, and the partitions that could not be read, with the reason."""

    last: dict[int, Answered]
    unread: dict[int, KafkaError]
    missing: dict[int, str]
    """Partitions that a topic of answers does not have, with the topic's name: nothing is answered there."""


class AnsweredReader:
    """Reads the ends of both topics of answers. One thread at a time; joins no group, and commits nothing."""

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
                    # It reads from every leader, and a first assignment shall not wait for that.
                    "enable.sparse.connections": False,
                },
            )
        )

    def last(self, partitions: Iterable[int], timeout_s: float) -> dict[int, Answered]:
        """The last answered event of each of these partitions of `profiles`; none where nothing is answered.

        Raises:
            KafkaException: the brokers did not tell within `timeout_s`, in seconds.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        reading = self.look(partitions, timeout_s)
        for error in reading.unread.values():
            raise KafkaException(error)
        return reading.last

    def look(
        self, partitions: Iterable[int], timeout_s: float, since: Mapping[Partition, int] | None = None
    ) -> Reading:
        """As `last`, partition by partition; one without a leader keeps no other from being read.

        Args:
            since: offsets of both topics; records before them answer events of another `profiles`.

        Raises:
            KafkaException: the brokers did not tell the partitions of the topics.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        deadline = time.monotonic() + timeout_s
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
        """Whether the answer is to an event of this very topic, and not of one of its name that was deleted since.

        An event that retention has removed counts as one.

        Raises: as `last`.
        """
        deadline = time.monotonic() + timeout_s
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

    def _look_up(self, deadline: float) -> dict[str, int]:
        """The number of partitions of both topics.

        The client learns by it who leads now: by itself it asks up to a second after it hears of a topic, and half a second later for
        offsets.
        """
        counts = {}
        for topic in self._topics:
            seen = self._consumer.list_topics(topic, timeout=max(0.1, deadline - time.monotonic()))
            counts[topic] = len(seen.topics[topic].partitions)
        return counts

    def _read(
        self, begin: Sequence[tuple[str, int, int]], deadline: float, *, enough: float = float("inf")
    ) -> tuple[list[Message], Mapping[Partition, int], KafkaError]:
        """Records from these offsets on, up to the end of each partition, or `enough` of them; those ends; and why one is missing."""
        records: list[Message] = []
        ends: dict[Partition, int] = {}
        problem = KafkaError(KafkaError._TIMED_OUT)
        self._consumer.assign([TopicPartition(*place) for place in begin])
        try:
            while len(ends) < len(begin) and len(records) < enough and time.monotonic() <= deadline:
                # Not all with the wait: for so many it would wait the whole of it.
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
    """Whether what was read of one topic reaches back before the last answer in the other: what is older answers older events."""
    return oldest_ms is not None and last is not None and oldest_ms < last.at_ms - _CLOCKS_MS


def answered_by(record: Message, profiles: str) -> Answered | None:
    """What a record of either topic answers; None where it is no answer to an event of `profiles` in the same partition."""
    try:
        topic, partition, offset = _source(record)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None  # somebody else's record
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

    A marker takes an offset that no event has. A group that has committed the position after the last event is behind by it for ever,
    as tools count that compare offsets. The worker's client does not say where a partition's events end, so a second client reads from
    the committed position to the end, and only where it finds no event its end is committed.

    That is safe beside transactions: it is done while nothing is in flight, so no transaction of this worker holds offsets; the group
    refuses it once the partition is another member's; and the position that was read from is compared again before.

    Used by the thread that polls; `look` never waits for what is read."""

    def __init__(self, settings: Settings, member: Member, lag: LagMetrics) -> None:
        self._settings = settings
        self._member = member
        self._lag = lag
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tails")
        self._answer: Future[dict[int, Tail]] | None = None
        self._again_at = 0.0

    def look(self) -> None:
        """Commit past the markers that were found, and look for others. Called while nothing is in flight.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if time.monotonic() < self._again_at:
            return
        if self._answer is None:
            behind = self._lag.behind()
            if behind:
                self._answer = self._thread.submit(self._read, behind)
            self._again_at = time.monotonic() + (0.1 if behind else _AGAIN_SECONDS)
        elif self._answer.done():
            answer, self._answer = self._answer, None
            self._again_at = time.monotonic() + _AGAIN_SECONDS
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
        except KafkaException as exception:  # a rebalance, or brokers away: looked for again
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
        deadline = time.monotonic() + _READ_SECONDS
        left, found = set(behind), dict[int, Tail]()
        try:
            reader.assign([TopicPartition(names.profiles, number, at) for number, at in behind.items()])
            while left and time.monotonic() < deadline:
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
