"""The outcomes worker: joins recommendations with feedback, and counts each pair once, whoever dies meanwhile.

One works and others stand by: who has the one partition of `outcomes` works. It takes the transactional id, which fences a
predecessor; reads what was counted, and how far; reads the last day again, counting nothing; and goes on. What it counts and
how far it has read go into one transaction.
"""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from pydantic import ValidationError

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.feedback import (
    OUTCOMES_KEY_PREFIX,
    POSITIONS_KEY,
    OutcomesPositions,
    OutcomesRecord,
    outcomes_key,
)
from schemas.recommendation import Recommendation
from schemas.settings import Settings
from worker.batch import Event, Record
from worker.compacted import CompactedReader
from worker.decode import Rejection, decode_feedback
from worker.encode import encode_dead_letter
from worker.errors import UndoneError
from worker.http import Health
from worker.join import WINDOW_MS, Join
from worker.outcomes_metrics import OutcomesMetrics
from worker.publish import CALL_SECONDS, raise_if_final
from worker.run import wait_for_topics
from worker.segments import Segments
from worker.state import sorted_out
from worker.stopping import Stopping

log = logging.getLogger(__name__)

_BATCH = 1_000
_POLL_SECONDS = 0.1
_COMMIT_SECONDS = 1.0  # what is counted is seen this much later at most
_READ_SECONDS = 30.0
_PAUSE_SECONDS = 1.0  # before a new term
_LOOK_SECONDS = 30.0  # for partitions that were added
# The brokers' clocks may differ by this, and the last day is read again from a little earlier.
_SLACK_MS = 600_000
_TRANSACTION_MS = 30_000

Place = tuple[str, int]  # topic and partition


class Outcomes:
    """Runs one term after another: a term begins from what Kafka holds, and ends with whatever undoes it."""

    def __init__(self, settings: Settings, health: Health, metrics: OutcomesMetrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._stopping = Stopping()

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            SettingsError: a wrong setting, or Kafka refuses who we are.
            FatalKafkaError: Kafka ended this process for good (fenced by a successor, for one); a new one can go on.
        """
        wait_for_topics(self._settings, self._health, self._stopping)
        while not self._stopping.is_set():
            term = _Term(self._settings, self._health, self._metrics, self._stopping)
            try:
                term.run()
            except (UndoneError, UnreachableError, KafkaException) as error:
                if isinstance(error, KafkaException):
                    raise_if_final(error.args[0])
                self._health.set("kafka", str(error))
                log.warning("beginning again from what Kafka holds: %s", error)
                self._stopping.wait(_PAUSE_SECONDS)
            finally:
                term.close()

    def stop(self) -> None:
        """End as soon as the step under way has ended; what was not committed is read again by the next."""
        self._stopping.set()


class _Term:
    """One time at work, with clients of its own."""

    def __init__(
        self, settings: Settings, health: Health, metrics: OutcomesMetrics, stopping: Stopping
    ) -> None:
        self._settings, self._names = settings, settings.names
        self._health, self._metrics, self._stopping = health, metrics, stopping
        self._join = Join(settings.outcomes.remembered)
        self._letters: list[Record] = []
        self._read_to_ms: dict[Place, float] = {}  # inf at a partition's end
        self._dirty = False
        self._leads = self._lost = False
        self._committed_at = self._looked_at = time.monotonic()
        self._segments = Segments(settings)
        self._leader = Consumer(
            kafka.reader(
                settings.kafka,
                self._names.outcomes_group,
                {
                    "auto.offset.reset": "latest",
                    "partition.assignment.strategy": "range",
                    "session.timeout.ms": settings.worker.session_timeout_ms,
                    "max.poll.interval.ms": settings.worker.max_poll_interval_ms,
                },
            )
        )
        self._consumer = Consumer(
            kafka.reader(
                settings.kafka,
                self._names.outcomes_group,
                {"auto.offset.reset": "earliest", "enable.partition.eof": True},
            )
        )
        self._producer = Producer(
            kafka.transactional_producer(
                settings.kafka, self._names.outcomes_transactional_id, _TRANSACTION_MS
            )
        )

    def run(self) -> None:
        """Raises UndoneError, UnreachableError or KafkaException where another term may begin, and as `Outcomes.run`."""
        # 1. Wait for our turn.
        self._leader.subscribe(
            [self._names.outcomes], on_assign=self._on_assign, on_revoke=self._on_gone, on_lost=self._on_gone
        )
        self._health.begun()
        while not self._leads:
            if self._stopping.is_set():
                return
            self._keep_place(_POLL_SECONDS)
        # 2. Fence a predecessor, so that what is read now is not changed any more.
        sorted_out("init_transactions", lambda: self._producer.init_transactions(CALL_SECONDS))
        # 3. What was counted, and how far; then the last day again, counting nothing.
        positions = self._restore()
        places = self._places(positions)
        self._read_again(places, positions)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in places.items()])
        self._health.set("kafka", None)
        self._metrics.leading(True)
        # 4. Count, and commit once a second.
        self._positions = places
        while not self._stopping.is_set():
            self._keep_place(0)
            self._take(self._consumer.consume(_BATCH, _POLL_SECONDS), new=True)
            if time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
                self._commit()
                self._look_for_partitions()
        self._commit()

    def close(self) -> None:
        """Leave the group first: a successor may begin."""
        self._metrics.leading(False)
        for consumer in (self._leader, self._consumer):
            consumer.close()
        self._segments.close()
        # An `init_transactions` that timed out would go on in it, and fence the next term.
        del self._producer

    # Standing by, and having the turn.

    def _keep_place(self, seconds: float) -> None:
        self._health.turn()
        message = self._leader.poll(seconds)
        if message is not None and (error := message.error()) is not None:
            raise_if_final(error)
        if self._lost:
            raise UndoneError("another outcomes worker took over")

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leads = bool(partitions)
        consumer.assign(partitions)
        consumer.pause(partitions)  # nothing is read here
        log.info("this outcomes worker %s", "works" if partitions else "stands by")

    def _on_gone(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._lost = self._leads and not self._stopping.is_set()

    # Beginning.

    def _restore(self) -> OutcomesPositions | None:
        """What was counted for the last day, into the join; how far was read, None where nobody has ever."""
        found: dict[bytes, OutcomesRecord] = {}
        positions: list[OutcomesPositions] = []

        def apply(key: bytes | None, value: bytes | None) -> None:
            if key == POSITIONS_KEY.encode() and value:
                positions[:] = [OutcomesPositions.model_validate_json(value)]
            elif key and key.startswith(OUTCOMES_KEY_PREFIX.encode()):
                found.pop(key, None)
                if value:
                    found[key] = OutcomesRecord.model_validate_json(value)

        reader: CompactedReader[None] = CompactedReader(
            self._settings, self._names.outcomes, "outcomes", apply
        )
        try:
            reader.read_to_end(_READ_SECONDS, settled=True)
        finally:
            reader.close()
        if not positions:
            return None
        oldest = positions[0].read_to.timestamp() - (WINDOW_MS + _SLACK_MS) / 1_000
        for record in found.values():
            if record.since.timestamp() >= oldest:
                self._join.restore(record)
        return positions[0]

    def _places(self, positions: OutcomesPositions | None) -> dict[Place, int]:
        """Every partition of both topics and where to go on counting; from its beginning where nobody has begun."""
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        known = {
            self._names.recommendations: positions.recommendations if positions else [],
            self._names.feedback: positions.feedback if positions else [],
        }
        return {
            (topic, partition): offsets[partition] if partition < len(offsets) else 0
            for topic, offsets in known.items()
            for partition in range(len(seen[topic].partitions))
        }

    def _read_again(self, places: dict[Place, int], positions: OutcomesPositions | None) -> None:
        """Read what was read before, of the last day and as much as is remembered; nothing of it counts again."""
        if positions is None:
            return
        since_ms = max(0, int(positions.read_to.timestamp() * 1_000) - WINDOW_MS - _SLACK_MS)
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
            self._keep_place(0)
            messages = self._consumer.consume(_BATCH, _POLL_SECONDS)
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _READ_SECONDS:
                raise UndoneError("the last day could not be read again")
            old = [m for m in messages if m.error() is not None or (m.offset() or 0) < places[_place(m)]]
            self._take(old, new=False)
            unread -= {_place(m) for m in messages if (m.offset() or 0) >= places[_place(m)] - 1}
        self._read_to_ms.clear()

    # Counting.

    def _take(self, messages: Sequence[Message], *, new: bool) -> None:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._read_to_ms[_place(message)] = float("inf")
            else:
                raise_if_final(error)
                log.warning("Kafka: %s", error.str())
        answers = [message for message in records if message.topic() == self._names.recommendations]
        self._take_recommendations(answers, new)
        for message in records:
            if message.topic() == self._names.feedback:
                self._take_feedback(message, new)
            self._read_to_ms[_place(message)] = message.timestamp()[1]
            if new:
                self._positions[_place(message)] = (message.offset() or 0) + 1
                self._dirty = True

    def _take_recommendations(self, messages: Sequence[Message], new: bool) -> None:
        read = [(message, _recommendation(message)) for message in messages]
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
            event = cast(Event, message)
            self._letters.append(encode_dead_letter(self._names.dead_letters, event, found, None))

    def _commit(self) -> None:
        """What was counted, what could not be read, and how far: in one transaction."""
        self._committed_at = time.monotonic()
        if not self._dirty:
            return
        join, read_to = self._join, self._read_to()
        positions = OutcomesPositions(
            recommendations=self._offsets(self._names.recommendations),
            feedback=self._offsets(self._names.feedback),
            read_to=datetime.fromtimestamp(read_to / 1_000, UTC),
        )
        records = [join.record(key) for key in join.changed]
        sorted_out("begin_transaction", self._producer.begin_transaction)
        for record in records:
            self._write(outcomes_key(record.since, record.release, record.segment), record.model_dump_json())
        self._write(POSITIONS_KEY, positions.model_dump_json())
        for letter in self._letters:
            self._producer.produce(letter.topic, letter.value, letter.key, headers=letter.headers)
            self._producer.poll(0)
        sorted_out("commit_transaction", lambda: self._producer.commit_transaction(CALL_SECONDS))
        self._metrics.committed(len(self._letters), join)
        join.changed.clear()
        join.forget(int(read_to) - WINDOW_MS)
        self._letters.clear()
        self._dirty = False

    def _write(self, key: str, value: str) -> None:
        self._producer.produce(self._names.outcomes, value.encode(), key.encode(), partition=0)
        self._producer.poll(0)

    def _offsets(self, topic: str) -> list[int]:
        return [offset for place, offset in sorted(self._positions.items()) if place[0] == topic]

    def _read_to(self) -> float:
        """The moment, in ms, before which everything was read: now, where all partitions are at their ends."""
        behind = (self._read_to_ms.get(place, 0.0) for place in self._positions)
        return min(time.time() * 1_000, *behind)

    def _look_for_partitions(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        seen = self._consumer.list_topics(timeout=CALL_SECONDS).topics
        there = sum(
            len(seen[topic].partitions) for topic in {place[0] for place in self._positions} & seen.keys()
        )
        if there > len(self._positions):
            raise UndoneError("partitions were added")


def _place(message: Message) -> Place:
    topic, partition = message.topic(), message.partition()
    assert topic is not None and partition is not None
    return topic, partition


def _recommendation(message: Message) -> Recommendation | None:
    try:
        return Recommendation.model_validate_json(message.value() or b"")
    except ValidationError as error:
        where = f"{message.topic()}-{message.partition()}-{message.offset()}"
        log.warning("%s is no recommendation, and skipped: %s", where, error.errors()[0]["msg"])
        return None
