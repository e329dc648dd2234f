"""The state machine of a worker's session with Kafka, as a table: it decides and calls nothing, so tests cover each pair.

    joining ── assigned ──▶ running ── full ──▶ paused
                              ▲  │  ◀── room ──   │
                      drained │  │ aborted, lost, unfinished, recreated
                              │  ▼                ▼
                            rewinding ◀───────────┘          every phase ── stop, failed ──▶ stopping

`loop` polls, reports each change here, and carries out the orders of its transition. `partitions` assigns partitions to
the client, `offsets` finds their positions, `pipeline` runs batches and `publisher` transactions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from confluent_kafka import Message, TopicPartition

from worker.monitoring.threads import Cancellation


class Phase(StrEnum):
    """The phase decides what becomes of polled events."""

    JOINING = "joining"  # the group has assigned nothing yet
    RUNNING = "running"  # events become batches
    PAUSED = "paused"  # the pipeline is full; the partitions are paused, and polling goes on
    REWINDING = "rewinding"  # events are dropped until no batch is in flight
    STOPPING = "stopping"  # batches in flight end, then the member leaves the group


class Change(StrEnum):
    """The group, the pipeline, the broker or a signal changes the session."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"  # reported once the batches of the partitions have ended
    LOST = "lost"
    UNFINISHED = "unfinished"  # batches in flight outlasted the time of a revoke or a stop
    ABORTED = "aborted"  # by an error, a timeout, or with an unknown outcome
    RECREATED = "recreated"  # `profiles` was deleted and created again, or may have been
    DRAINED = "drained"  # no batch is in flight
    FULL = "full"
    ROOM = "room"
    STOP = "stop"
    FAILED = "failed"


class Order(StrEnum):
    """Orders to the loop, carried out in the order of the transition."""

    END_EPOCH = "end epoch"  # no batch of it is published from here on
    BEGIN_EPOCH = "begin epoch"  # events polled from here on belong to it
    REREAD_POSITIONS = "reread positions"  # from the group's committed offsets
    REFRESH_MEMBER = "refresh member"  # read the group metadata again before the next transaction
    FIND_LEADERS = "find leaders"  # of the output topics, which may have moved
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Transition:
    """The next phase, the reason, and the orders to carry out."""

    phase: Phase
    reason: str
    orders: tuple[Order, ...] = ()


class RefusedChangeError(Exception):
    """The loop reported a change that its phase excludes: a defect, so the process ends."""


JOINING, RUNNING, PAUSED, REWINDING, STOPPING = Phase
_WORKING = (RUNNING, PAUSED, REWINDING)
_GONE = (Order.END_EPOCH, Order.FIND_LEADERS, Order.REFRESH_MEMBER)
_Row = tuple[Change, tuple[Phase, ...], Phase | None, tuple[Order, ...], str]

# Change, the phases in which it may come, the next phase (None: the same), the orders, the reason.
# fmt: off
_ROWS: tuple[_Row, ...] = (
    (Change.ASSIGNED, (JOINING,), RUNNING, (Order.REFRESH_MEMBER,),
     "each assigned partition is polled once its position is known"),
    (Change.ASSIGNED, (*_WORKING, STOPPING), None, (Order.REFRESH_MEMBER,),
     "batches of other partitions go on, and each new partition is polled once its position is known"),
    (Change.REVOKED, tuple(Phase), None, (Order.REFRESH_MEMBER,),
     "no batch of the revoked partitions can commit any more, and batches of others go on"),
    (Change.LOST, (JOINING,), None, (Order.REFRESH_MEMBER,),
     "nothing was polled yet"),
    (Change.LOST, _WORKING, REWINDING, _GONE,
     "another member may own the partitions already, so nothing in flight may commit"),
    (Change.LOST, (STOPPING,), None, _GONE,
     "another member may own the partitions already, so nothing in flight may commit"),
    (Change.UNFINISHED, _WORKING, REWINDING, (Order.END_EPOCH,),
     "the group waits no longer, so the next owner answers the events in flight"),
    (Change.UNFINISHED, (STOPPING,), None, (Order.END_EPOCH,),
     "the time to stop is over, so the next owner answers the events in flight"),
    (Change.ABORTED, _WORKING, REWINDING, _GONE,
     "a transaction aborted or its outcome is unknown, so only the committed offsets are certain"),
    (Change.ABORTED, (STOPPING,), None, _GONE,
     "the next owner reads the committed offsets"),
    (Change.RECREATED, _WORKING, REWINDING, (Order.END_EPOCH,),
     "batches in flight may answer events of a deleted topic"),
    # RESUME first: a partition that is assigned while it is paused is not fetched for a second (librdkafka 2.16).
    (Change.DRAINED, (REWINDING,), RUNNING, (Order.RESUME, Order.REREAD_POSITIONS, Order.BEGIN_EPOCH),
     "every outcome is settled, so the committed offsets are final"),
    (Change.FULL, (RUNNING,), PAUSED, (Order.PAUSE,),
     "no batch fits into the pipeline, and polling without records keeps the membership"),
    (Change.ROOM, (PAUSED,), RUNNING, (Order.RESUME,),
     "the pipeline takes batches again"),
    (Change.STOP, (JOINING, *_WORKING), STOPPING, (),
     "a signal asked for it"),
    (Change.FAILED, (JOINING, *_WORKING), STOPPING, (),
     "an error ends the process"),
)
REFUSED = {
    (JOINING, Change.UNFINISHED): "nothing is in flight before the first assignment",
    (JOINING, Change.ABORTED): "nothing is published before the first assignment",
    (JOINING, Change.RECREATED): "no partition is polled that could be of another topic",
    (JOINING, Change.DRAINED): "nothing was aborted",
    (JOINING, Change.FULL): "nothing was handed to the pipeline",
    (JOINING, Change.ROOM): "nothing is paused",
    (RUNNING, Change.DRAINED): "an empty pipeline is no reason to read positions again",
    (RUNNING, Change.ROOM): "nothing is paused",
    (PAUSED, Change.DRAINED): "an empty pipeline has room, and that is the change to report",
    (PAUSED, Change.FULL): "the partitions are paused already",
    (REWINDING, Change.FULL): "no batch is handed over before the positions are known",
    (REWINDING, Change.ROOM): "the partitions resume with their new positions",
    (STOPPING, Change.RECREATED): "the next owner looks at the topic",
    (STOPPING, Change.DRAINED): "the next owner reads the positions",
    (STOPPING, Change.FULL): "nothing more is polled",
    (STOPPING, Change.ROOM): "nothing more is polled",
    (STOPPING, Change.STOP): "the session ends once",
    (STOPPING, Change.FAILED): "the session ends once",
}
# fmt: on
TABLE = {
    (phase, change): Transition(following or phase, reason, orders)
    for change, phases, following, orders, reason in _ROWS
    for phase in phases
}


class Epoch:
    """The number that each batch carries: a batch of an ended epoch is never published.

    From the end of an epoch to the next beginning, polled events lie behind events that were aborted: to commit their
    offsets would skip those. So batches get the number of the epoch that began last, which has ended by then.
    """

    def __init__(self) -> None:
        self.current = 0
        self.begun = 0
        self.cancellation = Cancellation()  # of batches that wait for Milvus

    @property
    def ended(self) -> bool:
        return self.begun != self.current

    def end(self) -> None:
        """Called under the lock of the pipeline, by the poll thread or the publishing thread."""
        self.current += 1
        self.cancellation.cancel()

    def begin(self) -> None:
        """Called by the poll thread, while no batch is in flight."""
        self.begun = self.current
        self.cancellation = Cancellation()


class Assignment:
    """The owned partitions whose positions are not known yet, each with the number of its assignment.

    A partition that went away and came back has another number: another member may have committed offsets in between,
    so a position that was asked for before is not used.
    """

    def __init__(self) -> None:
        self._pending: dict[int, int] = {}
        self._number = 0

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._pending))

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, partition: object) -> bool:
        return partition in self._pending

    def add(self, partitions: Iterable[int]) -> None:
        """Wait for the positions of these."""
        self._number += 1
        self._pending |= dict.fromkeys(partitions, self._number)

    def remove(self, partitions: Iterable[int]) -> None:
        """These are polled now, or owned by another member."""
        for partition in partitions:
            self._pending.pop(partition, None)

    def question(self) -> dict[int, int]:
        """The partitions to ask for, with their numbers."""
        return dict(self._pending)

    def is_current(self, partition: int, question: dict[int, int]) -> bool:
        """Whether an answer to this question holds for the partition."""
        number = self._pending.get(partition)
        return number is not None and number == question.get(partition)


class Session:
    """The phase, the epoch and the assignment of one worker. Used by the poll thread."""

    def __init__(self) -> None:
        self.phase = Phase.JOINING
        self.epoch = Epoch()
        self.assignment = Assignment()
        self._failed = False

    def apply(self, change: Change) -> Transition:
        """Enter the next phase; the caller carries out the orders.

        Raises:
            RefusedChangeError: the phase excludes the change.
        """
        transition = TABLE.get((self.phase, change))
        if transition is None:
            raise RefusedChangeError(f"{change} while {self.phase}: {REFUSED[self.phase, change]}")
        self.phase = transition.phase
        self._failed = self._failed or change is Change.FAILED
        return transition

    @property
    def takes_events(self) -> bool:
        """Whether polled events may become batches."""
        return self.phase in (RUNNING, PAUSED)

    @property
    def is_certain(self) -> bool:
        """Whether the outcome of each commit is known, and no error ends the process."""
        return not (self._failed or self.epoch.ended)


class Member(Protocol):
    """The Kafka client, as the poll thread uses it: a member of the group, which a simulated broker could replace."""

    def subscribe(
        self,
        topics: list[str],
        *,
        on_assign: "Rebalanced",
        on_revoke: "Rebalanced",
        on_lost: "Rebalanced",
    ) -> None: ...
    def unsubscribe(self) -> None: ...
    def consume(self, num_messages: int, timeout: float) -> list[Message]: ...
    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition] | None: ...
    def assignment(self) -> list[TopicPartition]: ...
    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...
    def incremental_unassign(self, partitions: list[TopicPartition]) -> None: ...
    def pause(self, partitions: list[TopicPartition]) -> None: ...
    def resume(self, partitions: list[TopicPartition]) -> None: ...
    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]: ...
    def close(self) -> None: ...


Rebalanced = Callable[["Member", list[TopicPartition]], None]
