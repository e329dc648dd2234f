"""The loop of a worker on simulated clients: the order of its calls, and each event published once."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from schemas.settings import Settings, load_settings
from tests.faults.processes import losses_in, rebalances_in
from tests.unit.events import PolledEvent
from worker.errors import AbortedError
from worker.events import Answer, Record, positions_after
from worker.kafka.admin import AdminProcess
from worker.kafka.producer import WatchedCalls
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.threads import Cancellation
from worker.process import Stopping
from worker.serving import Answerer
from worker.stream import loop
from worker.stream import offsets as positions
from worker.stream.ends import Reading
from worker.stream.loop import Stream
from worker.stream.partitions import Partitions
from worker.stream.publisher import Publisher

PLACES = [TopicPartition("marquee.profiles", 0), TopicPartition("marquee.profiles", 1)]


class Group:
    """A client that calls one rebalance callback after another, a poll each, and notes the calls."""

    def __init__(self, *happenings: str) -> None:
        self.told: list[str] = []
        self._happenings = list(happenings)
        self._callbacks: dict[str, Callable[..., None]] = {}
        self._assigned: list[TopicPartition] = []
        self.stop: Callable[[], None] = lambda: None

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:  # noqa: ARG002
        self._callbacks = callbacks

    def consume(self, number: int, timeout: float) -> list[Any]:  # noqa: ARG002
        if self._happenings:
            self._callbacks[f"on_{self._happenings.pop(0)}"](self, PLACES)
        elif self._assigned:
            self.stop()
        return []

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        return [TopicPartition(place.topic, place.partition, 7) for place in places]

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        self._assigned += places
        self.told += ["assign"] if places else ["note"]

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        self._assigned = [place for place in self._assigned if place not in places]
        self.told.append("unassign")

    def pause(self, places: list[TopicPartition]) -> None:  # noqa: ARG002
        self.told.append("pause")

    def resume(self, places: list[TopicPartition]) -> None:  # noqa: ARG002
        self.told.append("resume")

    def assignment(self) -> list[TopicPartition]:
        return self._assigned

    def memberid(self) -> str:
        return "member"

    def consumer_group_metadata(self) -> object:
        return object()

    def close(self) -> None: ...

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> None: ...


class Answers:
    """Empty output topics."""

    def __init__(self, _settings: Settings) -> None: ...

    def look(self, _partitions: Sequence[int], _seconds: float, _since: object) -> Reading:
        return Reading({}, {}, {})

    def close(self) -> None: ...


def run_stream(
    group: "Group", monkeypatch: pytest.MonkeyPatch, publisher: object = None, answerer: object = None
) -> None:
    """Run a stream on this client until the client stops it."""
    monkeypatch.setattr(positions, "AnsweredReader", Answers)
    monkeypatch.setattr(AdminProcess, "call", lambda *_, **__: {})
    if publisher:
        monkeypatch.setattr(loop, "Publisher", lambda *_: publisher)
    else:
        monkeypatch.setattr(Publisher, "start", lambda _: None)
    stopping = Stopping()
    group.stop = stopping.set
    Stream(
        load_settings(),
        "worker",
        cast(Answerer, answerer or object.__new__(Answerer)),
        lambda: None,
        lambda: None,
        Health(),
        Metrics(CollectorRegistry()),
        Latest(),
        stopping,
        connect=lambda _: group,
    ).run()


@pytest.mark.parametrize(
    "happenings",
    [["assign"], ["assign", "lost", "assign"]],
    ids=["assigned", "lost and assigned again"],
)
def test_partitions_are_neither_paused_nor_resumed_just_after_their_assignment(
    happenings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka could forget the position, and fetch nothing (its issues 2190 and 5591)."""
    # Given a group in which this happens
    group = Group(*happenings)
    # When the stream runs
    run_stream(group, monkeypatch)
    # Then the callback assigns nothing, and no pause or resume follows an assignment
    assert group.told.count("note") == happenings.count("assign")
    assert group.told.count("assign") == 1
    assert not any(
        first == "assign" and then in {"pause", "resume"}
        for first, then in zip(group.told, group.told[1:], strict=False)
    ), group.told


class SimulatedBroker(Group):
    """One partition with events, its committed offset and its group, behind the interface of the client."""

    def __init__(
        self, events: int, chance: random.Random, leaves: float = 0.05, seconds: float = 120.0
    ) -> None:
        super().__init__()
        self.events, self.chance, self._leaves = events, chance, leaves
        self.offset = 0  # committed
        self.published: list[int] = []
        self._available = 0  # events that were produced by now
        self._position: int | None = None
        self._member = False
        self._paused = False
        self._deadline = time.monotonic() + seconds

    def consume(self, number: int, timeout: float) -> list[Any]:
        assert time.monotonic() < self._deadline, (self.offset, self.published[-5:])
        if not self._member:
            self._member = True
            self._callbacks["on_assign"](self, PLACES[:1])
        elif self.chance.random() < self._leaves:
            self._member = False
            self._callbacks[self.chance.choice(["on_lost", "on_revoke"])](self, PLACES[:1])
        if self.offset == self.events:
            self.stop()
        self._available = min(self.events, self._available + self.chance.randint(0, 3))
        if self._position is None or self._paused or self._position >= self._available:
            time.sleep(timeout / 100)
            return []
        first = self._position
        self._position = min(self._available, first + min(number, self.chance.randint(1, 7)))
        return [Event(at=(PLACES[0].topic, 0, offset)) for offset in range(first, self._position)]

    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:  # noqa: ARG002
        return [TopicPartition(place.topic, place.partition, self.offset) for place in places]

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        super().incremental_assign(places)
        for place in places:
            self._position = place.offset

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        super().incremental_unassign(places)
        if places:
            self._position = None

    def pause(self, places: list[TopicPartition]) -> None:
        self._paused = self._paused or bool(places)

    def resume(self, places: list[TopicPartition]) -> None:
        self._paused = self._paused and not places


class Event(PolledEvent):
    def error(self) -> None:
        return None


class SimulatedPublisher:
    """Commits to the simulated broker; some transactions abort, and some of these have landed."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self.calls = WatchedCalls()

    def start(self) -> None: ...
    def discard(self) -> None: ...
    def note_member(self, *, regrouped: bool) -> None: ...
    def refresh_partitions(self, topics: list[str], timeout_s: float) -> None: ...

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]:
        if not is_ours():
            raise AbortedError("the partitions were lost before publishing")
        outcome = self.outcome()
        if outcome != "aborted":
            self._broker.published += [answer.event.offset() for answer in answers]
            self._broker.offset = answers[-1].event.offset() + 1
        if outcome != "committed":
            raise AbortedError(f"the outcome is {outcome}")
        return positions_after(answer.event for answer in answers)

    def outcome(self) -> str:
        return self._broker.chance.choice(["committed", "committed", "committed", "aborted", "unknown"])


class SimulatedAnswerer:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def answer(self, events: Sequence[Event], cancellation: Cancellation) -> list[Answer]:
        time.sleep(self._chance.random() / 200)
        cancellation.check()
        return [Answer(event, Record("recommendations", 0, None, b"{}", [])) for event in events]

    def last_resort(self, answer: Answer, refusal: str) -> Answer:
        raise AssertionError(f"{answer}: {refusal}")


@pytest.mark.parametrize("seed", range(4))
def test_each_event_is_published_once_and_in_order_whatever_aborts_and_whoever_leaves(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a broker whose group revokes and takes partitions away, and transactions that abort or have unknown outcomes
    broker = SimulatedBroker(300, random.Random(seed))
    # When the stream consumes all events
    run_stream(broker, monkeypatch, SimulatedPublisher(broker), SimulatedAnswerer(random.Random(seed)))
    # Then
    assert broker.published == list(range(300))


class AbortsOnce(SimulatedPublisher):
    """Aborts its first transaction, and commits the others."""

    began = False

    def outcome(self) -> str:
        first, self.began = not self.began, True
        return "aborted" if first else "committed"


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.name}: {record.getMessage()}" for record in caplog.records)


def test_the_fault_suite_finds_rebalances_and_losses_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a group that revokes partitions, and one that takes them away
    caplog.set_level(logging.INFO)
    group = Group("assign", "revoke", "assign", "lost", "assign")
    # When the stream runs
    run_stream(group, monkeypatch)
    # Then the suite counts one revocation, one loss, and each assignment
    assert rebalances_in(logged(caplog)) == 2 + group.told.count("assign")
    assert losses_in(logged(caplog)) == 1


def test_the_fault_suite_finds_aborts_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a transaction that aborts
    caplog.set_level(logging.INFO)
    broker = SimulatedBroker(30, random.Random(0), leaves=0.0)
    # When the stream consumes all events
    run_stream(broker, monkeypatch, AbortsOnce(broker), SimulatedAnswerer(random.Random(0)))
    # Then the suite counts one loss
    assert broker.published == list(range(30))
    assert losses_in(logged(caplog)) == 1


def test_the_simulation_notices_positions_that_are_taken_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a rewind that reads no committed offset again
    monkeypatch.setattr(Partitions, "reread", lambda _: None)
    broker = SimulatedBroker(300, random.Random(0), leaves=0.0, seconds=10.0)
    # When the stream consumes all events, then some are missing, or the last ones never end
    with pytest.raises(AssertionError):
        run_stream(broker, monkeypatch, SimulatedPublisher(broker), SimulatedAnswerer(random.Random(0)))
        assert broker.published == list(range(300))
