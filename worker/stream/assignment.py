"""The partitions that the group has given this worker: at work, or pending until the position of each is known.

A rebalance callback only notes them. The thread that polls asks a second thread for their positions, goes on polling, and assigns
each partition to the client once its position is known: so no partition waits for another, and no member of the group for a broker.

librdkafka begins with a partition as soon as it is assigned, so a pending one is not assigned to the client; to the group that is
the same, which is told of partitions by the callback alone.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import UnreachableError
from schemas.settings import Settings
from worker.kafka.errors import raise_if_final
from worker.monitoring.http import Health
from worker.monitoring.statistics import LagMetrics
from worker.stream.attempts import Attempts
from worker.stream.growth import Growth
from worker.stream.offsets import Positions, Told, go_to
from worker.stream.origin import Origin
from worker.stream.rehearsals import Rehearsals
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# Between two questions about a partition whose position is not known yet.
_AGAIN_SECONDS = 0.25
# Between two looks at the topic's id.
_LOOK_SECONDS = 1.0
# For the question under way, at the end: it has a deadline of its own.
_END_SECONDS = 5.0
_PART = "partitions"  # in /health/ready


class Assignment:
    """Used by the thread that polls; `resolve` is called in each turn, and never waits for a position."""

    def __init__(
        self,
        settings: Settings,
        consumer: Consumer,
        positions: Positions,
        growth: Growth,
        unreadable: Unreadable,
        rehearsals: Rehearsals,
        origin: Origin,
        before_taking: Callable[[], None],
        health: Health,
        lag: LagMetrics,
    ) -> None:
        """`before_taking` is called before each question, and its UnreachableError puts that off."""
        self._profiles = settings.names.profiles
        self._consumer = consumer
        self._positions = positions
        self._growth = growth
        self._unreadable = unreadable
        self._rehearsals = rehearsals
        self._origin = origin
        self._look: Future[bool] | None = None
        self._look_at = 0.0
        self._before_taking = before_taking
        self._health = health
        self._lag = lag
        self._attempts = Attempts(self._commit)
        self._pending: dict[int, int] = {}  # by partition, the number of its assignment
        self._count = 0
        self._asked: dict[int, int] = {}
        self._answer: Future[Told] | None = None
        self._again_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="positions")

    @property
    def pending(self) -> set[int]:
        """Partitions that are ours, and of which nothing is polled yet."""
        return set(self._pending)

    @property
    def asking(self) -> bool:
        """Whether an answer may come at any moment."""
        return self._answer is not None

    def given(self, partitions: Sequence[TopicPartition]) -> None:
        """The group has given us these partitions: as `add`, and their marks are ours to set."""
        self._attempts.assigned(partitions)
        self.add(partitions)

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are ours, from positions that are yet to be asked for."""
        self._count += 1
        self._pending |= {place.partition: self._count for place in partitions}
        self._again_at = 0.0

    def drop(self, partitions: Sequence[TopicPartition], *, in_order: bool = False) -> None:
        """These partitions are not ours any more. Called in a rebalance callback, which has to unassign, be it nothing.

        `in_order`: they are ours until now, nothing of them is in flight, and every commit's outcome is known.
        """
        if in_order:
            self._take_back_marks(partitions)
        self._attempts.gone(partitions)
        self._rehearsals.gone(partitions)
        for place in partitions:
            self._pending.pop(place.partition, None)
        gone = {place.partition for place in partitions}
        self._unreadable.gone(partitions)
        self._consumer.incremental_unassign([p for p in self._consumer.assignment() if p.partition in gone])
        self._lag.gone(partitions)
        self._tell({})

    def set_aside(self) -> list[TopicPartition]:
        """Have every position asked for anew; what was fetched is dropped."""
        assigned = self._consumer.assignment()
        if assigned:
            self._unreadable.gone(assigned)
            self._consumer.incremental_unassign(assigned)
            self.add(assigned)
        return assigned

    def go_to(self, positions: list[TopicPartition]) -> None:
        """Go on elsewhere in partitions that are at work."""
        self._unreadable.begun(positions)
        go_to(self._consumer, positions)
        self._lag.assigned(positions)

    def resolve(self, *, paused: bool) -> None:
        """Put the partitions to work whose positions are known by now, and ask for those of others.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            self._again_at = time.monotonic() + _AGAIN_SECONDS
            self._take(answer, paused=paused)
        if self._pending and self._answer is None and time.monotonic() >= self._again_at:
            self._asked = dict(self._pending)
            places = [TopicPartition(self._profiles, number) for number in sorted(self._asked)]
            self._answer = self._thread.submit(self._ask, places)

    def made_anew(self) -> bool:
        """Whether the partitions at work are of another topic than the one that is there now; never waits."""
        if self._look is not None and self._look.done():
            look, self._look = self._look, None
            return look.exception() is None and look.result()
        if self._look is None and time.monotonic() >= self._look_at and not self._pending:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            self._look = self._thread.submit(self._origin.is_another)
        return False

    def is_another(self) -> bool:
        """As `made_anew`, asked now. Raises KafkaException, UnreachableError."""
        return self._origin.is_another()

    def close(self) -> None:
        """Wait for the question under way, and close the clients that ask."""
        if self._answer is not None:
            wait_for([self._answer], _END_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._answer is None or self._answer.done():
            self._positions.close()

    def _ask(self, places: list[TopicPartition]) -> Told:
        """In the second thread."""
        self._before_taking()
        told = self._positions.committed(places)
        told.waiting |= self._growth.grow(told.missing)
        return told

    def _take(self, answer: Future[Told], *, paused: bool) -> None:
        try:
            told = answer.result()
            self._commit([place for place in told.to_commit if self._may_commit(place, told)])
            if told.record is not None and self._is_asked(0):
                self._origin.write(told.record)
            ours = [place for place in told.positions if self._is_asked(place.partition)]
            self._attempts.mark(ours, {place.partition: place.offset for place in told.to_commit})
        except UnreachableError as error:
            self._tell(dict.fromkeys(self._pending, str(error)))
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            self._tell(dict.fromkeys(self._pending, exception.args[0].str()))
        else:
            rehearsed = self._rehearsals.due(ours, self._attempts.ends)
            self._begin([place for place in ours if place.partition not in rehearsed], paused)
            # Known by their offsets, and not as the beginning: nothing is answered before these.
            self._lag.committed(told.to_commit)
            self._tell(told.waiting | rehearsed)

    def _take_back_marks(self, partitions: Sequence[TopicPartition]) -> None:
        """Of those at work, and of those whose events are tried; what is committed of another that is pending is not known."""
        known = {n: at for n, at in self._lag.positions().items() if n not in self._pending}
        known |= self._rehearsals.positions
        gone = {place.partition for place in partitions}
        self._attempts.take_back(self._profiles, {n: at for n, at in known.items() if n in gone})

    def _is_asked(self, partition: int) -> bool:
        """Whether it is still ours, by the same assignment: another worker may have had it in between."""
        number = self._pending.get(partition)
        return number is not None and number == self._asked.get(partition)

    def _may_commit(self, place: TopicPartition, told: Told) -> bool:
        """Ours, or of all partitions at a group's beginning, which the worker says that has partition 0."""
        answered = {position.partition for position in told.positions}
        return self._is_asked(place.partition if place.partition in answered else 0)

    def _commit(self, places: list[TopicPartition]) -> None:
        if places:
            # As a member of the group: a coordinator that has given the partitions to others refuses.
            for place in self._consumer.commit(offsets=places, asynchronous=False) or []:
                if place.error is not None:
                    raise KafkaException(place.error)

    def _begin(self, positions: list[TopicPartition], paused: bool) -> None:
        if not positions:
            return
        for position in positions:
            del self._pending[position.partition]
        self._unreadable.begun(positions)
        # Either way: the client remembers a pause from the last time that a partition was ours. And not after the assignment: that
        # could make the client drop where to begin (librdkafka issues 2190 and 5591), and the partition would stand still.
        (self._consumer.pause if paused else self._consumer.resume)(positions)
        self._consumer.incremental_assign(positions)
        self._origin.begun()
        self._lag.assigned(positions)
        log.info("assigned %s", _places(positions))

    def _tell(self, waiting: dict[int, str]) -> None:
        reasons: dict[str, list[int]] = {}
        for partition, reason in sorted(waiting.items()):
            if partition in self._pending:
                reasons.setdefault(reason, []).append(partition)
        words = "; ".join(f"partitions {', '.join(map(str, n))} wait: {why}" for why, n in reasons.items())
        self._health.set(_PART, words or None)


def _places(positions: list[TopicPartition]) -> str:
    places = ", ".join(f"{p.partition}@{p.offset if p.offset >= 0 else 'beginning'}" for p in positions)
    return f"{len(positions)} partitions: {places}"
