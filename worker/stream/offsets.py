"""Where to go on in each partition: from the group's committed offsets, never from memory, and not against what is answered."""

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

# One question to the brokers for offsets; it is asked again for as long as they are away.
OFFSETS_SECONDS = 2.0
# A reader of answers that got none is replaced where it is older.
OLD_SECONDS = 6.0
# For how long a group that tells less than was answered is asked again: a coordinator that has too much to load takes seconds.
DOUBT_SECONDS = 30.0


# One partition alone, where a question about several was not answered: one of them may wait for a transaction that hangs.
_ALONE_SECONDS = 0.5


@dataclass
class Told:
    """What is known of some partitions: where to go on, and of the others why nothing is known yet."""

    positions: list[TopicPartition] = field(default_factory=list)
    waiting: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)
    """Of those that wait: partitions that a topic of answers does not have, with the topic's name."""
    to_commit: list[TopicPartition] = field(default_factory=list)
    """Where partitions without a committed offset begin; a member of the group commits it before it begins there."""
    record: TopicRecord | None = None
    """Published after that."""
    idle: set[int] = field(default_factory=set)
    """Of partitions at which workers ended: those without an event behind their committed offset."""


class Positions:
    """Asks the group and the answers; one for each worker. One thread at a time."""

    def __init__(self, settings: Settings, consumer: Consumer, origin: Origin | None = None) -> None:
        """`consumer` has the group's name, and is asked for its offsets; it need not be a member.

        Without `origin` timestamps alone tell a topic that was made anew.
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
        """The committed offset of each partition, or for one without, where the settings say that a group begins.

        An offset that an open transaction is about to change is waited for: `isolation.level=read_committed` makes the
        broker refuse to tell an unstable one. A partition of which something is not known yet keeps no other from being told.

        Raises:
            KafkaException: the brokers did not tell in time.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        seen = self._origin.look(self._consumer) if self._origin else Seen()
        if seen.made_anew:
            return self._made_anew(partitions, seen)
        # Read first: nothing that is committed in between can then contradict the offsets.
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
        """Be ready to ask brokers that lead since a moment ago: something was undone, or partitions were lost. From any thread.

        Who has read nothing for a while remembers those who led then, and one of them that stands still is asked for
        seconds. A new reader asks all of them at once who leads, while the transactional id is taken.
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
        """The group's offsets are of an earlier topic: the member that has partition 0 sets them to the beginning."""
        numbers = [place.partition for place in partitions]
        topic = partitions[0].topic
        if 0 not in numbers:
            why = "profiles was made anew; the worker that has partition 0 sets the group's offsets back"
            return Told(waiting=dict.fromkeys(numbers, why))
        log.warning("%s was deleted and made anew: reading it from its beginning", topic)
        found = self._beginnings(self._all(topic), from_end=False)
        # Nothing is put to work yet: the next question finds the record, and the offsets.
        why = "profiles was made anew; setting the group's offsets back"
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
        """The group's offsets, negative for none; together, and one by one where that fails."""
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
        """Ask again, until the group has told the same for long; then it is so, and why decides where to go on."""
        if last is None or not self._is_behind(position, last):
            self._doubted.pop(position.partition, None)
            return None
        told, since = self._doubted.get(position.partition, (None, 0.0))
        now, words = time.monotonic(), _words(position, last)
        if told != position.offset:
            since = now
            self._doubted[position.partition] = position.offset, now
            log.warning("asking the group again, which tells less than was answered: %s", words)
        if now - since < DOUBT_SECONDS:
            return f"the group tells less than was answered: {words}"
        return self._believe(position, last, words, known=known)

    def _is_behind(self, position: TopicPartition, last: Answered) -> bool:
        if position.offset > last.offset:
            return False
        set_back = self._set_back.get(position.partition)
        return set_back is None or position.offset < set_back

    def _believe(self, position: TopicPartition, last: Answered, words: str, *, known: bool) -> str | None:
        if position.offset >= 0:
            self._set_back[position.partition] = position.offset
            what = "somebody set these offsets back, and events are answered once more"
        else:
            try:
                is_of = known or self._answered.is_of(position.partition, last, OFFSETS_SECONDS)
            except KafkaException as exception:
                return f"the event of the last answer: {exception.args[0].str()}"
            if is_of:
                position.offset = last.offset + 1
                what = "the group has lost these offsets: going on after the last answers"
            else:
                what = "the topic was made anew, its answers are to events that are gone: beginning"
        log.warning("%s: %s", what, words)
        return None

    def _begin(self, told: Told) -> None:
        """Where partitions without an offset begin: at the beginning, but for a group that has none at all and is to begin at the end."""
        fresh = [position for position in told.positions if position.offset < 0]
        if not fresh:
            return
        from_end = self._settings.worker.start == "latest" and self._is_first(fresh[0].topic)
        if from_end and all(position.partition != 0 for position in fresh):
            # Only one member may say where the group begins, for all partitions: the others would take its word for that of an
            # older group, and theirs for partitions that were added.
            self._wait(told, fresh, "the worker that has partition 0 to say where the group begins")
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
        """Whether the group has no offsets, in no partition: one that has none beside others was added."""
        offsets = _sound(self._consumer.committed(self._all(topic), OFFSETS_SECONDS))
        return all(place.offset < 0 for place in offsets)

    def _all(self, topic: str) -> list[TopicPartition]:
        partitions = self._consumer.list_topics(topic, timeout=OFFSETS_SECONDS).topics[topic].partitions
        return [TopicPartition(topic, number) for number in partitions]

    def _beginnings(self, fresh: Sequence[TopicPartition], *, from_end: bool) -> list[TopicPartition]:
        """Their first offsets, or the ends of all partitions: from there on nothing may be skipped, whoever has them later."""
        places = self._all(fresh[0].topic) if from_end else fresh
        found = []
        for place in places:
            first, end = watermarks(self._consumer, place, OFFSETS_SECONDS)
            found.append(TopicPartition(place.topic, place.partition, end if from_end else first))
        return found


def go_to(member: Member, positions: Sequence[TopicPartition]) -> None:
    """Go on at these positions of assigned partitions; what was fetched from elsewhere is dropped.

    Assigned anew, because `seek` refuses a partition whose last fetch failed or has not begun.
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
