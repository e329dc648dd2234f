"""Reads results and feedback into the join: first those of the last day, which were counted, then new ones."""

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
# Dead letters wait for the next commit, which comes at once with so many bytes of them.
_LETTERS_BYTES = 8 * 2**20
# One transaction has the time to deliver so many one by one, after a refusal.
_LETTERS = 2_000
# The brokers' clocks may differ by so much, so that the last day is read from a little earlier.
_SLACK_MS = 600_000


class Joining:
    """Both topics, with the next offset of each partition."""

    def __init__(
        self,
        settings: Settings,
        join: Join,
        keep_leading: Callable[[], None],
        stopping: Stopping,
        left_out: Callable[[int], None],
    ) -> None:
        """`keep_leading` is called while the last day is read, `left_out` with the number of unreadable headers of a record."""
        self._settings, self._names = settings, settings.names
        self._join = join
        self._keep_leading, self._stopping, self._left_out = keep_leading, stopping, left_out
        self._topic_ids: dict[str, str] = {}
        self._next: dict[Partition, int] = {}
        self._read_to_ms: dict[Partition, float] = {}  # inf at a partition's end
        self._skipped_to: dict[Partition, int] = {}
        self._letters_bytes = 0
        # Since the last commit: invalid feedback; records that the client could not decode; whether any record was read.
        self.letters: list[Record] = []
        self.skipped = 0
        self.dirty = False
        config = kafka.reader(
            settings.kafka,
            self._names.outcomes_group,
            {"auto.offset.reset": "earliest", "enable.partition.eof": True},
        )
        self._consumer = Consumer(config)
        self._skipping = Skipping(config, self._consumer)
        self._segments = Segments(settings)

    def begin(self, positions: OutcomesPositions | None, records: Iterable[OutcomesRecord]) -> None:
        """Continue after the committed positions, or at the beginning of both topics if there are none.

        Raises:
            AbortedError: Kafka does not answer.
            KafkaException: raised by the client.
        """
        self._topic_ids = self._read_topic_ids()
        offsets = self._offsets_after(positions)
        if positions is not None:
            since_ms = max(0, int(positions.read_to.timestamp() * 1_000) - WINDOW_MS - _SLACK_MS)
            for record in records:
                if record.since.timestamp() * 1_000 >= since_ms:
                    self._join.restore(record)
            self._read_last_day(offsets, since_ms)
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in offsets.items()])
        self._next = offsets

    def take(self) -> None:
        """Poll and count new records."""
        records = self._read(self._consumer.consume(_BATCH, _POLL_SECONDS), new=True)
        for message in records:
            self._next[partition_of(message)] = (message.offset() or 0) + 1
        self.dirty = self.dirty or bool(records)

    @property
    def full(self) -> bool:
        """Whether the dead letters must be committed at once."""
        return self._letters_bytes >= _LETTERS_BYTES or len(self.letters) >= _LETTERS

    def positions(self) -> OutcomesPositions:
        """The next offsets, after everything that was counted."""
        names, ids = self._names, self._topic_ids
        return OutcomesPositions(
            recommendations=self._offsets(names.recommendations),
            feedback=self._offsets(names.feedback),
            read_to=datetime.fromtimestamp(self._read_to() / 1_000, UTC),
            recommendations_id=ids.get(names.recommendations),
            feedback_id=ids.get(names.feedback),
        )

    def committed(self) -> None:
        """Note that everything that was counted is committed."""
        self.letters, self._letters_bytes = [], 0
        self.dirty = False
        self.skipped = 0

    def check_topics(self) -> None:
        """Raise AbortedError if partitions were added or a topic was recreated, which only `begin` handles."""
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        topics = {topic for topic, _ in self._next} & seen.keys()
        if sum(len(seen[topic].partitions) for topic in topics) > len(self._next):
            raise AbortedError("partitions were added")
        with suppress(UnreachableError):  # checked again later
            if self._topic_ids != self._read_topic_ids():
                raise AbortedError("a topic was recreated")

    def close(self) -> None:
        self._consumer.close()
        self._segments.close()

    def _offsets_after(self, positions: OutcomesPositions | None) -> dict[Partition, int]:
        """The offset at which counting continues, for every partition of both topics."""
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        known: dict[str, tuple[list[int], str | None]] = {
            self._names.recommendations: ([], None),
            self._names.feedback: ([], None),
        }
        if positions is not None:
            known[self._names.recommendations] = positions.recommendations, positions.recommendations_id
            known[self._names.feedback] = positions.feedback, positions.feedback_id
        result: dict[Partition, int] = {}
        for topic, (offsets, topic_id) in known.items():
            if topic_id and self._topic_ids.get(topic, topic_id) != topic_id:
                log.warning("the topic %s was recreated: reading it from its beginning", topic)
                offsets = []
            for partition in range(len(seen[topic].partitions)):
                result[topic, partition] = offsets[partition] if partition < len(offsets) else 0
        return result

    def _read_topic_ids(self) -> dict[str, str]:
        names = [self._names.recommendations, self._names.feedback]
        with AdminProcess() as admin:
            return admin.call(topic_ids, self._settings, names, CALL_SECONDS, seconds=CALL_SECONDS)

    def _read_last_day(self, offsets: dict[Partition, int], since_ms: int) -> None:
        """Read the records since a moment up to the offsets, at most as many as the join remembers, without counting them."""
        unread = self._assign_since(offsets, since_ms)
        heard_at = time.monotonic()
        while unread and not self._stopping.is_set():
            self._keep_leading()
            messages = self._consumer.consume(_BATCH, _POLL_SECONDS)
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _QUIET_SECONDS:
                raise AbortedError("the last day could not be read")
            placed = [(message, partition_of(message), message.offset() or 0) for message in messages]
            self._read(
                [m for m, p, offset in placed if m.error() is not None or offset < offsets[p]], new=False
            )
            unread -= {partition for _, partition, offset in placed if offset >= offsets[partition] - 1}
            unread -= {
                partition for partition in unread if self._skipped_to.get(partition, 0) >= offsets[partition]
            }
        # The ends that it met may be ahead of the offsets: the records between them are not counted yet.
        self._read_to_ms.clear()

    def _assign_since(self, offsets: dict[Partition, int], since_ms: int) -> set[Partition]:
        """Assign the partitions that have records to read, and return them."""
        asked = [TopicPartition(*partition, since_ms) for partition in offsets]
        begin = {
            (p.topic, p.partition): max(p.offset, offsets[p.topic, p.partition] - self._join.remember)
            for p in self._consumer.offsets_for_times(asked, timeout=CALL_SECONDS)
            if p.offset >= 0  # negative if there is no record since
        }
        unread = {partition for partition, offset in begin.items() if offset < offsets[partition]}
        self._consumer.assign([TopicPartition(*partition, begin[partition]) for partition in unread])
        return unread

    def _read(self, messages: Sequence[Message], *, new: bool) -> list[Message]:
        """Add records to the join, results before feedback; returns them."""
        records = [message for message in messages if self._is_record(message)]
        self._take_results([m for m in records if m.topic() == self._names.recommendations], new)
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
        skipped, partition = self._skipping.skip(message, first), partition_of(message)
        if skipped is None:
            return
        begin, end = skipped
        self._skipped_to[partition] = end
        if partition in self._next:  # a predecessor counted the skipped records of the last day
            self.skipped += end - max(begin, self._next[partition])
            self._next[partition] = end
            self.dirty = True

    def _take_results(self, messages: Sequence[Message], new: bool) -> None:
        read = [(message, _result(message, self._names.profiles)) for message in messages]
        valid = [(message, result) for message, result in read if result is not None]
        sources = [(result.source.partition, result.source.offset) for _, result in valid]
        for (message, result), segment in zip(valid, self._segments.of(sources), strict=True):
            movies = [movie.movie_id for movie in result.movies]
            at_ms = message.timestamp()[1]
            self._join.recommendation(result.event_id, result.release, segment, movies, at_ms, new=new)

    def _take_feedback(self, message: Message, new: bool) -> None:
        found = decode_feedback(message.value())
        if not isinstance(found, Rejection):
            self._join.feedback(found.event_id, found.movie_id, found.action, message.timestamp()[1], new=new)
        elif new:
            event = cast(Event, mended([message], self._left_out)[0])
            self.letters.append(encode_dead_letter(self._names.dead_letters, event, found, None))
            self._letters_bytes += size_of(event)

    def _offsets(self, topic: str) -> list[int]:
        return [offset for partition, offset in sorted(self._next.items()) if partition[0] == topic]

    def _read_to(self) -> float:
        """The moment, in ms, before which every record was read: now, if all partitions are read to their ends."""
        behind = (self._read_to_ms.get(partition, 0.0) for partition in self._next)
        return min(time.time() * 1_000, *behind)


def _result(message: Message, profiles: str) -> Recommendation | None:
    """The result in a record; None, logged, unless it is one of an event in the same partition of `profiles`."""
    try:
        result = Recommendation.model_validate_json(message.value() or b"")
    except ValidationError as error:
        problem = f"is no recommendation: {error.errors()[0]['msg']}"
    else:
        if (result.source.topic, result.source.partition) != (profiles, message.partition()):
            problem = "is a result of an event of another topic or partition"
        elif not 0 <= result.source.offset <= _MAX_OFFSET:
            problem = "is a result of an event at no offset"
        else:
            return result
    log.warning(
        "skipping %s-%s-%s, which %s", message.topic(), message.partition(), message.offset(), problem
    )
    return None
