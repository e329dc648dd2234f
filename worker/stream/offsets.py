"""Finds the position of each partition: from the group's committed offsets, never from memory, cross-checked with the outputs."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from schemas.kafka import watermarks
from schemas.release import TopicRecord
from schemas.settings import Settings
from worker.kafka.errors import raise_if_final
from worker.kafka.reader import close_aside
from worker.stream.crashes import ENDS, ends_of
from worker.stream.ends import Answered, AnsweredReader, Reading
from worker.stream.session import Member
from worker.stream.topic_state import Origin, Seen

log = logging.getLogger(__name__)

# For one request for offsets; it is repeated while brokers are away.
OFFSETS_SECONDS = 2.0
# Age of a reader of output topics, after which it is replaced once it gets no answer.
OLD_SECONDS = 6.0
# Time in which a committed offset before the last answered event is asked for again: a busy coordinator loads for seconds.
DOUBT_SECONDS = 30.0
# For one partition, where a request for several was not answered: one of them may wait for a transaction that hangs.
_ALONE_SECONDS = 0.5


@dataclass
class Told:
    """The positions that are known, and the reason for each partition whose position is not."""

    positions: list[TopicPartition] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    """Partitions that an output topic lacks, with the topic's name; they wait."""
    to_commit: list[TopicPartition] = field(default_factory=list)
    """The beginnings of partitions without a committed offset; a member of the group commits them before it polls."""
    record: TopicRecord | None = None
    """To be published after that commit."""
    idle: set[int] = field(default_factory=set)
    """Of partitions at which workers ended: those without an event behind their committed offset."""


class Positions:
    """Reads committed offsets and output topics. One for each worker, used by one thread at a time."""

    def __init__(self, settings: Settings, consumer: Consumer, origin: Origin | None = None) -> None:
        """`consumer` has the group's name, and need not be a member.

        Without `origin`, timestamps decide whether a topic was recreated.
        """
        self._origin = origin
        self._consumer = consumer
        self._settings = settings
        self._answered = AnsweredReader(settings)
        self._answered_since = time.monotonic()
        self._next: AnsweredReader | None = None
        self._doubted: dict[
            int, tuple[int, float]
        ] = {}  # offsets that the answers contradict, and since when
        self._set_back: dict[int, int] = {}  # offsets of partitions that somebody set back on purpose

    def committed(self, partitions: Sequence[TopicPartition]) -> Told:
        """The committed offset of each partition, or without one the beginning that the settings choose.

        An offset that an open transaction may change is waited for: with `isolation.level=read_committed` the broker refuses
        an unstable offset. A partition whose position is not known yet delays no other.

        Raises:
            KafkaException: the brokers did not answer in time.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        seen = self._origin.look(self._consumer) if self._origin else Seen()
        if seen.made_anew:
            return self._made_anew(partitions, seen)
        # Outputs first: a commit between both requests can then not contradict the offsets.
        reading = self._read_answers(partitions, seen)
        told = Told(missing=dict(reading.missing))
        if any(place.partition == 0 for place in partitions):
            told.record = seen.record
        told.waiting = {n: f"the last answers: {e.str()}" for n, e in reading.unread.items()}
        told.waiting |= {n: f"{topic} has no such partition" for n, topic in reading.missing.items()}
        for position in self._ask([p for p in partitions if p.partition not in told.waiting], told):
            last = reading.last.get(position.partition)
            if seen.stale and last is None:
                position.offset = OFFSET_INVALID
            doubt = self._doubt(position, last, known=seen.known)
            if doubt:
                told.waiting[position.partition] = doubt
            else:
                told.positions.append(position)
        told.idle = {p.partition for p in told.positions if self._is_idle(p)}
        self._begin(told)
        return told

    def _is_idle(self, position: TopicPartition) -> bool:
        """Asked only where workers ended: each question takes a request to the partition's leader."""
        if ends_of(position.metadata, position.offset) < ENDS:
            return False
        try:
            return watermarks(self._consumer, position, _ALONE_SECONDS)[1] <= position.offset
        except KafkaException:
            return False

    def expect_others(self) -> None:
        """Replace the reader of output topics, after an abort or lost partitions. From any thread.

        A reader that was idle remembers earlier leaders, and waits for seconds for one that hangs. A new reader asks all
        brokers for the leaders, while the new producer takes the transactional id.
        """
        self._next = AnsweredReader(self._settings)

    def close(self) -> None:
        self._answered.close()
        self._consumer.close()

    def _renew(self) -> None:
        close_aside(self._answered.close)
        self._answered, self._next = self._next or AnsweredReader(self._settings), None
        self._answered_since = time.monotonic()

    def _made_anew(self, partitions: Sequence[TopicPartition], seen: Seen) -> Told:
        """The group's offsets are of an earlier topic: the owner of partition 0 sets them to the beginning."""
        numbers = [place.partition for place in partitions]
        topic = partitions[0].topic
        if 0 not in numbers:
            why = "profiles was recreated; the owner of partition 0 sets the group's offsets back"
            return Told(waiting=dict.fromkeys(numbers, why))
        log.warning("%s was deleted and recreated: reading it from its beginning", topic)
        found = self._beginnings(self._all(topic), from_end=False)
        # Nothing is polled yet: the next request finds the record, and the offsets.
        why = "profiles was recreated; setting the group's offsets back"
        return Told(waiting=dict.fromkeys(numbers, why), to_commit=found, record=seen.record)

    def _read_answers(self, partitions: Iterable[TopicPartition], seen: Seen) -> Reading:
        if self._next is not None:
            self._renew()
        try:
            reading = self._answered.look(
                [place.partition for place in partitions], OFFSETS_SECONDS, seen.since
            )
        except KafkaException:
            self._renew_if_old()
            raise
        if reading.unread:
            self._renew_if_old()
        return reading

    def _renew_if_old(self) -> None:
        # On a busy machine a new one takes a second or more to begin: it is left its time.
        if time.monotonic() - self._answered_since > OLD_SECONDS:
            self._renew()

    def _ask(self, partitions: list[TopicPartition], told: Told) -> list[TopicPartition]:
        """The committed offsets, negative for none; in one request, and one by one where that fails."""
        if not partitions:
            return []
        try:
            return _sound(self._consumer.committed(partitions, OFFSETS_SECONDS))
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            if len(partitions) == 1:
                told.waiting[partitions[0].partition] = exception.args[0].str()
                return []
        found = []
        for partition in partitions:
            try:
                found += _sound(self._consumer.committed([partition], _ALONE_SECONDS))
            except KafkaException as exception:
                told.waiting[partition.partition] = exception.args[0].str()
                if not found:  # the coordinator is away
                    told.waiting |= {p.partition: exception.args[0].str() for p in partitions}
                    return []
        return found

    def _doubt(self, position: TopicPartition, last: Answered | None, *, known: bool) -> str | None:
        """The reason to ask again; None once the offset is plausible, or has stayed the same for `DOUBT_SECONDS`."""
        if last is None or not self._is_behind(position, last):
            self._doubted.pop(position.partition, None)
            return None
        told, since = self._doubted.get(position.partition, (None, 0.0))
        now, words = time.monotonic(), _words(position, last)
        if told != position.offset:
            since = now
            self._doubted[position.partition] = position.offset, now
            log.warning("stale offset, asking the group again: %s", words)
        if now - since < DOUBT_SECONDS:
            return f"stale offset: the group's offset is before the last answered event: {words}"
        return self._believe(position, last, words, known=known)

    def _is_behind(self, position: TopicPartition, last: Answered) -> bool:
        if position.offset > last.offset:
            return False
        set_back = self._set_back.get(position.partition)
        return set_back is None or position.offset < set_back

    def _believe(self, position: TopicPartition, last: Answered, words: str, *, known: bool) -> str | None:
        if position.offset >= 0:
            self._set_back[position.partition] = position.offset
            what = "offsets were set back on purpose, and events are answered again"
        else:
            try:
                is_of = known or self._answered.is_of(position.partition, last, OFFSETS_SECONDS)
            except KafkaException as exception:
                return f"the last answered event: {exception.args[0].str()}"
            if is_of:
                position.offset = last.offset + 1
                what = "the group has lost these offsets: going on after the last answered events"
            else:
                what = "the topic was recreated, and its outputs answer deleted events: reading from the beginning"
        log.warning("%s: %s", what, words)
        return None

    def _begin(self, told: Told) -> None:
        """Begin partitions without an offset: at the beginning, or by the setting at the end of a group without offsets."""
        fresh = [position for position in told.positions if position.offset < 0]
        if not fresh:
            return
        from_end = self._settings.worker.start == "latest" and self._is_first(fresh[0].topic)
        if from_end and all(position.partition != 0 for position in fresh):
            # One member alone commits the ends of all partitions: to the others its commits look like those of an older
            # group, and a partition without a commit like one that was added.
            self._wait(told, fresh, "the owner of partition 0 commits the beginning of the group")
            return
        try:
            told.to_commit = self._beginnings(fresh, from_end=from_end)
        except KafkaException as exception:
            self._wait(told, fresh, exception.args[0].str())
            return
        first = {place.partition: place.offset for place in told.to_commit}
        for position in fresh:
            position.offset = first[position.partition] if from_end else OFFSET_BEGINNING

    def _wait(self, told: Told, fresh: Sequence[TopicPartition], reason: str) -> None:
        told.positions = [position for position in told.positions if position not in fresh]
        told.waiting |= {position.partition: reason for position in fresh}

    def _is_first(self, topic: str) -> bool:
        """Whether the group has no offset in any partition: a partition without one beside others was added."""
        offsets = _sound(self._consumer.committed(self._all(topic), OFFSETS_SECONDS))
        return all(place.offset < 0 for place in offsets)

    def _all(self, topic: str) -> list[TopicPartition]:
        partitions = self._consumer.list_topics(topic, timeout=OFFSETS_SECONDS).topics[topic].partitions
        return [TopicPartition(topic, number) for number in partitions]

    def _beginnings(self, fresh: Sequence[TopicPartition], *, from_end: bool) -> list[TopicPartition]:
        """Their first offsets, or the ends of all partitions: no later owner may skip an event behind these."""
        places = self._all(fresh[0].topic) if from_end else fresh
        found = []
        for place in places:
            first, end = watermarks(self._consumer, place, OFFSETS_SECONDS)
            found.append(TopicPartition(place.topic, place.partition, end if from_end else first))
        return found


def go_to(member: Member, positions: Sequence[TopicPartition]) -> None:
    """Go on at these positions of assigned partitions; prefetched events are dropped.

    The client is assigned them again, because `seek` refuses a partition whose last fetch failed or has not begun.
    """
    if positions:
        member.incremental_unassign(list(positions))
        member.incremental_assign(list(positions))


def _sound(places: list[TopicPartition]) -> list[TopicPartition]:
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
    return places


def _words(position: TopicPartition, last: Answered) -> str:
    told = "none" if position.offset < 0 else position.offset
    return f"partition {position.partition} {told}, answered {last.offset}"
