"""The partitions that this worker owns: polled, or pending until the position of each is known.

A rebalance callback only notes them. The poll thread has a second thread read their positions, goes on polling, and assigns
each partition to the client once its position is known: so no partition waits for another, and no member of the group for a broker.

librdkafka fetches from a partition as soon as it is assigned, so a pending partition is not assigned to the client. The group does
not see the difference.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.errors import FatalKafkaError, UnreachableError
from schemas.settings import Settings
from worker.events import partition_of
from worker.kafka.errors import raise_if_final
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.waiting import Deadline
from worker.stream.crashes import EndMarks, Rehearsals
from worker.stream.offsets import Positions, Told, go_to
from worker.stream.session import Assignment, Member
from worker.stream.topic_state import Growth, Origin
from worker.stream.unreadable import Unreadable

log = logging.getLogger(__name__)

# Between two questions about a partition whose position is not known yet.
_AGAIN_SECONDS = 0.25
# Between two looks at the topic's id.
_LOOK_SECONDS = 1.0
# For the question under way, at the end: it has a deadline of its own.
_END_SECONDS = 5.0
_PART = "partitions"  # in /health/ready


class Partitions:
    """Used by the poll thread; `resolve` is called in each turn, and never waits for a position."""

    def __init__(
        self,
        settings: Settings,
        member: Member,
        assignment: Assignment,
        positions: Positions,
        growth: Growth,
        unreadable: Unreadable,
        rehearsals: Rehearsals,
        origin: Origin,
        before_taking: Callable[[], None],
        health: Health,
        metrics: Metrics,
    ) -> None:
        """`before_taking` is called before each question, and its UnreachableError delays that."""
        self._profiles = settings.names.profiles
        self._on_lost_offset = settings.worker.on_lost_offset
        self._member = member
        self._assignment = assignment
        self._positions = positions
        self._growth = growth
        self._unreadable = unreadable
        self._rehearsals = rehearsals
        self._origin = origin
        self._look: Future[bool] | None = None
        self._next_look = Deadline(0.0)
        self._before_taking = before_taking
        self._health = health
        self._metrics = metrics
        self._lag = metrics.lag
        self._marks = EndMarks(self._commit)
        self._paused = False
        self._question: dict[int, int] = {}
        self._answer: Future[Told] | None = None
        self._next_question = Deadline(0.0)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="positions")

    @property
    def asking(self) -> bool:
        """Whether positions may become known at any moment."""
        return self._answer is not None

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """The group assigned these: their positions are to be read, and their marks to be set."""
        self._marks.assigned(partitions)
        self._add(partitions)

    def drop(self, partitions: Sequence[TopicPartition], *, in_order: bool = False) -> None:
        """The group takes these away. Called in a rebalance callback, which has to unassign, be it nothing.

        `in_order`: this worker owns them until now, none of their batches is in flight, and the outcome of each commit is known.
        """
        if in_order:
            self._take_back_marks(partitions)
        self._marks.gone(partitions)
        self._rehearsals.gone(partitions)
        gone = {place.partition for place in partitions}
        self._assignment.remove(gone)
        self._unreadable.gone(partitions)
        self._member.incremental_unassign([p for p in self._member.assignment() if p.partition in gone])
        self._lag.gone(partitions)
        self._report({})

    def reread(self) -> None:
        """Read the position of each partition again; fetched events are dropped."""
        assigned = self._member.assignment()
        log.info("rewind of %s", numbers(assigned))
        if assigned:
            self._unreadable.gone(assigned)
            self._member.incremental_unassign(assigned)
            self._add(assigned)

    def pause(self) -> None:
        """Fetch nothing until `resume`."""
        self._member.pause(self._member.assignment())
        self._paused = True

    def resume(self) -> None:
        """Fetch again, except from partitions whose next batch a child process reads."""
        if self._paused:
            self._member.resume(self._unreadable.others(self._member.assignment()))
            self._paused = False

    def skip_lost(self, message: Message, error: KafkaError) -> Literal["skipped", "recreated"]:
        """Go past events that are gone, as the setting says; never silently.

        Returns "recreated" where `profiles` is another topic, or may be: then its positions are to be read again.

        Raises:
            FatalKafkaError: the setting is to stop.
            SettingsError: as `raise_if_final`.
        """
        if self._may_be_recreated():
            return "recreated"
        topic, partition = partition_of(message)
        if self._on_lost_offset == "stop":
            raise FatalKafkaError(
                f"the next event of {topic}-{partition} is gone ({error.str()}): events were removed before they were answered. "
                "Set MARQUEE_WORKER__ON_LOST_OFFSET to earliest or latest to go on past them"
            )
        log.error(
            "the next event of %s-%d is gone (%s); going on at the %s",
            topic,
            partition,
            error.str(),
            self._on_lost_offset,
        )
        self._metrics.lost_offsets.inc()
        offset = OFFSET_BEGINNING if self._on_lost_offset == "earliest" else OFFSET_END
        position = TopicPartition(topic, partition, offset)
        self._unreadable.begun([position])
        go_to(self._member, [position])
        self._lag.assigned([position])
        return "skipped"

    def resolve(self) -> None:
        """Assign the partitions to the client whose positions are known by now, and ask for the positions of the others.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            self._next_question = Deadline(_AGAIN_SECONDS)
            self._take(answer)
        if self._assignment and self._answer is None and self._next_question.passed:
            self._question = self._assignment.question()
            places = [TopicPartition(self._profiles, number) for number in sorted(self._question)]
            self._answer = self._thread.submit(self._ask, places)

    def recreated(self) -> bool:
        """Whether `profiles` is another topic than the one that the polled partitions are of; never waits."""
        if self._look is not None and self._look.done():
            look, self._look = self._look, None
            return look.exception() is None and look.result()
        if self._look is None and self._next_look.passed and not self._assignment:
            self._next_look = Deadline(_LOOK_SECONDS)
            self._look = self._thread.submit(self._origin.is_another)
        return False

    def close(self) -> None:
        """Wait for the question under way, and close the clients that ask."""
        self._rehearsals.close()
        if self._answer is not None:
            wait_for([self._answer], _END_SECONDS)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._answer is None or self._answer.done():
            self._positions.close()

    def _may_be_recreated(self) -> bool:
        try:
            return self._origin.is_another()
        except KafkaException as exception:
            raise_if_final(exception.args[0])
        except UnreachableError as error:
            log.info("asking again whether profiles was recreated: %s", error)
        return True

    def _ask(self, places: list[TopicPartition]) -> Told:
        """In the second thread."""
        self._before_taking()
        told = self._positions.committed(places)
        told.waiting |= self._growth.grow(told.missing)
        return told

    def _add(self, partitions: Iterable[TopicPartition]) -> None:
        self._assignment.add(place.partition for place in partitions)
        self._next_question = Deadline(0.0)

    def _take(self, answer: Future[Told]) -> None:
        try:
            told = answer.result()
            self._commit([place for place in told.to_commit if self._may_commit(place, told)])
            if told.record is not None and self._is_current(0):
                self._origin.write(told.record)
            ours = [place for place in told.positions if self._is_current(place.partition)]
            self._marks.mark(ours, {place.partition: place.offset for place in told.to_commit})
        except UnreachableError as error:
            self._report(dict.fromkeys(self._assignment, str(error)))
        except KafkaException as exception:
            raise_if_final(exception.args[0])
            self._report(dict.fromkeys(self._assignment, exception.args[0].str()))
        else:
            rehearsed = self._rehearsals.due(ours, self._marks.ends, told.idle)
            self._begin([place for place in ours if place.partition not in rehearsed])
            # Known by their offsets, and not as the beginning: nothing is answered before these.
            self._lag.committed(told.to_commit)
            self._report(told.waiting | rehearsed)

    def _take_back_marks(self, partitions: Sequence[TopicPartition]) -> None:
        """The offsets of polled partitions, and of those whose events are tried, are known; those of others are not."""
        known = {n: at for n, at in self._lag.positions().items() if n not in self._assignment}
        known |= self._rehearsals.positions
        gone = {place.partition for place in partitions}
        self._marks.take_back(self._profiles, {n: at for n, at in known.items() if n in gone})

    def _is_current(self, partition: int) -> bool:
        return self._assignment.is_current(partition, self._question)

    def _may_commit(self, place: TopicPartition, told: Told) -> bool:
        """Whether this worker owns it, or owns partition 0 and begins all partitions of a new group."""
        answered = {position.partition for position in told.positions}
        return self._is_current(place.partition if place.partition in answered else 0)

    def _commit(self, places: list[TopicPartition]) -> None:
        if places:
            # The coordinator refuses the commit of a member that no longer owns the partitions.
            for place in self._member.commit(offsets=places, asynchronous=False) or []:
                if place.error is not None:
                    raise KafkaException(place.error)

    def _begin(self, positions: list[TopicPartition]) -> None:
        if not positions:
            return
        self._assignment.remove(position.partition for position in positions)
        self._unreadable.begun(positions)
        # In both cases: the client remembers a pause of an earlier assignment. Before the assignment: after it, the client could
        # forget the position (librdkafka issues 2190 and 5591) and fetch nothing.
        (self._member.pause if self._paused else self._member.resume)(positions)
        self._member.incremental_assign(positions)
        self._origin.begun()
        self._lag.assigned(positions)
        log.info("assigned %s", _places(positions))

    def _report(self, waiting: dict[int, str]) -> None:
        reasons: dict[str, list[int]] = {}
        for partition, reason in sorted(waiting.items()):
            if partition in self._assignment:
                reasons.setdefault(reason, []).append(partition)
        words = "; ".join(f"partitions {', '.join(map(str, n))} wait: {why}" for why, n in reasons.items())
        self._health.set(_PART, words or None)


def numbers(partitions: list[TopicPartition]) -> str:
    """Partitions, for the log."""
    return f"{len(partitions)} partitions: {', '.join(str(p.partition) for p in partitions)}"


def _places(positions: list[TopicPartition]) -> str:
    places = ", ".join(f"{p.partition}@{p.offset if p.offset >= 0 else 'beginning'}" for p in positions)
    return f"{len(positions)} partitions: {places}"
