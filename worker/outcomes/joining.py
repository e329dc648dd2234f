"""Reading recommendations and feedback into the join: the last day again first, counting nothing, and then what is new."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from pydantic import ValidationError

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.feedback import OutcomesPositions, OutcomesRecord
from schemas.headers import mended
from schemas.names import Names
from schemas.recommendation import Recommendation
from schemas.settings import Settings
from worker.errors import AbortedError
from worker.events import (
    Event,
    Partition,
    Record,
    Rejection,
    decode_feedback,
    encode_dead_letter,
    partition_of,
    size_of,
)
from worker.kafka.admin import AdminProcess, topic_ids
from worker.kafka.errors import raise_if_final, undecodable_at
from worker.kafka.producer import CALL_SECONDS
from worker.kafka.undecodable import Skipping
from worker.outcomes.join import WINDOW_MS, Join
from worker.outcomes.segments import Segments
from worker.process import Stopping

log = logging.getLogger(__name__)

_BATCH = 1_000
_POLL_SECONDS = 0.1
_QUIET_SECONDS = 30.0
_MAX_OFFSET = 2**63 - 1
# Dead letters wait for the next commit; with so many bytes of them it comes at once.
_LETTERS_BYTES = 8 * 2**20
# So many can be delivered one by one within a transaction's time, where one of them is refused.
_LETTERS = 2_000
# The brokers' clocks may differ by this, and the last day is read again from a little earlier.
_SLACK_MS = 600_000


class Joining:
    """Both topics, all of their partitions, and how far each is read."""

    def __init__(
        self,
        settings: Settings,
        join: Join,
        keep_place: Callable[[], None],
        stopping: Stopping,
        left_out: Callable[[int], None],
    ) -> None:
        """`keep_place` is called while the last day is read again, and may raise to end it.

        `left_out` is given the number of headers of a record that cannot be read.
        """
        self._names = settings.names
        self._join = join
        self._keep_place, self._stopping, self._left_out = keep_place, stopping, left_out
        self._next: dict[Partition, int] = {}
        self._read_to_ms: dict[Partition, float] = {}  # inf at a partition's end
        self.letters: list[Record] = []
        """What could not be read since the last commit."""
        self._letters_bytes = 0
        self.dirty = False
        """Whether anything was read since the last commit."""
        self.skipped = 0
        """Records that the client could not decode, since the last commit."""
        self._segments = Segments(settings)
        self._settings = settings
        self._ids: dict[str, str] = {}
        config = kafka.reader(
            settings.kafka,
            self._names.outcomes_group,
            {"auto.offset.reset": "earliest", "enable.partition.eof": True},
        )
        self._consumer = Consumer(config)
        self._skipping = Skipping(config, self._consumer)
        self._skipped_to: dict[Partition, int] = {}

    def begin(self, positions: OutcomesPositions | None, records: Iterable[OutcomesRecord]) -> None:
        """Stand where whoever committed these stood; at the topics' beginnings where nobody has.

        Raises:
            AbortedError: Kafka does not answer.
            KafkaException: as the client's.
        """
        places = self._places(positions)
        if positions is not None:
            since_ms = max(0, int(positions.read_to.timestamp() * 1_000) - WINDOW_MS - _SLACK_MS)
            for record in records:
                if record.since.timestamp() * 1_000 >= since_ms:
                    self._join.restore(record)
            self._read_again(places, since_ms)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in places.items()])
        self._next = places

    def take(self) -> None:
        """Count what has come; waits a moment where nothing has."""
        records = self._read(self._consumer.consume(_BATCH, _POLL_SECONDS), new=True)
        for message in records:
            self._next[partition_of(message)] = (message.offset() or 0) + 1
        self.dirty = self.dirty or bool(records)

    @property
    def full(self) -> bool:
        """Whether so much waits for the next commit that it must not wait any longer."""
        return self._letters_bytes >= _LETTERS_BYTES or len(self.letters) >= _LETTERS

    def positions(self) -> OutcomesPositions:
        """How far is read, which includes all that was taken."""
        return OutcomesPositions(
            recommendations=self._offsets(self._names.recommendations),
            feedback=self._offsets(self._names.feedback),
            read_to=datetime.fromtimestamp(self._read_to() / 1_000, UTC),
            recommendations_id=self._ids.get(self._names.recommendations),
            feedback_id=self._ids.get(self._names.feedback),
        )

    def committed(self) -> None:
        """What was taken is final."""
        self.letters, self._letters_bytes = [], 0
        self.dirty = False
        self.skipped = 0

    def look_for_partitions(self) -> None:
        """Raises AbortedError where partitions were added, or a topic was made anew: only another beginning reads that."""
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        topics = {topic for topic, _ in self._next} & seen.keys()
        if sum(len(seen[topic].partitions) for topic in topics) > len(self._next):
            raise AbortedError("partitions were added")
        with suppress(UnreachableError):  # looked for again
            if self._ids != self._seen_ids():
                raise AbortedError("a topic was made anew")

    def close(self) -> None:
        self._consumer.close()
        self._segments.close()

    def _places(self, positions: OutcomesPositions | None) -> dict[Partition, int]:
        """Every partition of both topics and where to go on counting."""
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        self._ids = self._seen_ids()
        known = {
            self._names.recommendations: positions.recommendations if positions else [],
            self._names.feedback: positions.feedback if positions else [],
        }
        for topic, id_then in _ids(self._names, positions).items():
            if id_then and topic in self._ids and id_then != self._ids[topic]:
                log.warning("the topic %s was made anew: reading it from its beginning", topic)
                known[topic] = []
        return {
            (topic, partition): offsets[partition] if partition < len(offsets) else 0
            for topic, offsets in known.items()
            for partition in range(len(seen[topic].partitions))
        }

    def _seen_ids(self) -> dict[str, str]:
        names = [self._names.recommendations, self._names.feedback]
        with AdminProcess() as admin:
            return admin.call(topic_ids, self._settings, names, CALL_SECONDS, seconds=CALL_SECONDS)

    def _read_again(self, places: dict[Partition, int], since_ms: int) -> None:
        """Read what was read before, of the last day and as much as is remembered; nothing of it counts again."""
        asked = [TopicPartition(*place, since_ms) for place in places]
        found = self._consumer.offsets_for_times(asked, timeout=CALL_SECONDS)
        begin = {
            (p.topic, p.partition): max(p.offset, places[p.topic, p.partition] - self._join.remember)
            for p in found
            if p.offset >= 0  # negative where nothing has come since
        }
        unread = {place for place, offset in begin.items() if offset < places[place]}
        self._consumer.assign([TopicPartition(*place, begin[place]) for place in unread])
        heard_at = time.monotonic()
        while unread and not self._stopping.is_set():
            self._keep_place()
            messages = self._consumer.consume(_BATCH, _POLL_SECONDS)
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _QUIET_SECONDS:
                raise AbortedError("the last day could not be read again")
            old = [
                m for m in messages if m.error() is not None or (m.offset() or 0) < places[partition_of(m)]
            ]
            self._read(old, new=False)
            unread -= {partition_of(m) for m in messages if (m.offset() or 0) >= places[partition_of(m)] - 1}
            unread -= {place for place in unread if self._skipped_to.get(place, 0) >= places[place]}
        self._read_to_ms.clear()

    def _read(self, messages: Sequence[Message], *, new: bool) -> list[Message]:
        """Into the join, recommendations first; those that are records."""
        records = [message for message in messages if self._is_record(message)]
        answers = [message for message in records if message.topic() == self._names.recommendations]
        self._take_recommendations(answers, new)
        for message in records:
            if message.topic() == self._names.feedback:
                self._take_feedback(message, new)
            self._read_to_ms[partition_of(message)] = message.timestamp()[1]
        return records

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._read_to_ms[partition_of(message)] = float("inf")
        elif (first := undecodable_at(message)) is not None:
            self._skip(message, first)
        else:
            raise_if_final(error)
            log.warning("Kafka: %s", error.str())
        return False

    def _skip(self, message: Message, first: int) -> None:
        """Raises as `Skipping.skip`."""
        skipped, place = self._skipping.skip(message, first), partition_of(message)
        if skipped is None:
            return
        begin, end = skipped
        self._skipped_to[place] = end
        if (
            place in self._next
        ):  # not while the last day is read again: whoever read it first has counted these
            self.skipped += end - max(begin, self._next[place])
            self._next[place] = end
            self.dirty = True

    def _take_recommendations(self, messages: Sequence[Message], new: bool) -> None:
        read = [(message, _recommendation(message, self._names.profiles)) for message in messages]
        sound = [(message, answer) for message, answer in read if answer is not None]
        places = [(answer.source.partition, answer.source.offset) for _, answer in sound]
        for (message, answer), segment in zip(sound, self._segments.of(places), strict=True):
            movies = [movie.movie_id for movie in answer.movies]
            at_ms = message.timestamp()[1]
            self._join.recommendation(answer.event_id, answer.release, segment, movies, at_ms, new=new)

    def _take_feedback(self, message: Message, new: bool) -> None:
        found = decode_feedback(message.value())
        if not isinstance(found, Rejection):
            self._join.feedback(found.event_id, found.movie_id, found.action, message.timestamp()[1], new=new)
        elif new:
            event = cast(Event, mended([message], self._left_out)[0])
            self.letters.append(encode_dead_letter(self._names.dead_letters, event, found, None))
            self._letters_bytes += size_of(event)

    def _offsets(self, topic: str) -> list[int]:
        return [offset for place, offset in sorted(self._next.items()) if place[0] == topic]

    def _read_to(self) -> float:
        """The moment, in ms, before which everything was read: now, where all partitions are at their ends."""
        behind = (self._read_to_ms.get(place, 0.0) for place in self._next)
        return min(time.time() * 1_000, *behind)


def _ids(names: Names, positions: OutcomesPositions | None) -> dict[str, str | None]:
    if positions is None:
        return {}
    return {
        names.recommendations: positions.recommendations_id,
        names.feedback: positions.feedback_id,
    }


def _recommendation(message: Message, profiles: str) -> Recommendation | None:
    """None where it is no answer to an event of `profiles` in the same partition."""
    where = f"{message.topic()}-{message.partition()}-{message.offset()}"
    try:
        answer = Recommendation.model_validate_json(message.value() or b"")
    except ValidationError as error:
        log.warning("%s is no recommendation, and skipped: %s", where, error.errors()[0]["msg"])
        return None
    if (answer.source.topic, answer.source.partition) != (profiles, message.partition()):
        log.warning("%s answers an event of elsewhere, and is skipped", where)
        return None
    if not 0 <= answer.source.offset <= _MAX_OFFSET:
        log.warning("%s answers an event at no offset, and is skipped", where)
        return None
    return answer
