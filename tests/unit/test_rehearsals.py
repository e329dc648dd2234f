"""Events that are tried in another process first: what its ends say, and what becomes of partitions meanwhile."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.settings import load_settings
from worker.events import decode
from worker.monitoring.metrics import Metrics
from worker.serving import Answerer
from worker.stream import children, crashes
from worker.stream.children import Progress, Rehearsal
from worker.stream.crashes import LOG_SECONDS, Rehearsals

TOPIC = "marquee.profiles"
ABORTS = "raise SystemExit(3)"


def place(partition: int, offset: int) -> TopicPartition:
    return TopicPartition(TOPIC, partition, offset)


# A child that answers every event but those at which the test ends it; its order comes on stdin.
CHILD = """
import json, os, signal, sys, time
order = json.load(sys.stdin)
def say(**line): print(json.dumps(line), flush=True)
for partition, offset, events in order["positions"]:
    for at in range(offset, min(offset + events, 10)):
        say(begin=[partition, at])
        if (partition, at) in {kills}: os.kill(os.getpid(), signal.SIGKILL)
        if (partition, at) in {exits}: os._exit(3)
        if (partition, at) in {terms}: os.kill(os.getpid(), signal.SIGTERM)
        if (partition, at) in {hangs}: time.sleep(60)
        if (partition, at) in {fails}: say(failed="Milvus is away"); sys.exit()
        say(done=[partition, at])
    say(end=partition)
say(bye=True)
"""


def tried(
    monkeypatch: pytest.MonkeyPatch, *positions: TopicPartition, **ends: set[tuple[int, int]]
) -> Rehearsal:
    """The rehearsal of at most 8 events of each position, in children that end so."""
    code = CHILD
    for name in ("kills", "exits", "terms", "fails", "hangs"):
        code = code.replace("{" + name + "}", repr(ends.get(name, set()) or {()}))
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda _, **pipes: popen([sys.executable, "-c", code], **pipes))
    found = Rehearsal(load_settings(), positions, 8)
    found.wait(60.0)
    assert found.done
    return found


def test_events_that_the_child_outlives_are_not_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried(monkeypatch, place(0, 7), place(3, 0))
    assert (found.problem, found.progress.condemned) == (None, {})
    assert found.progress.answered == 3 + 8


def test_each_event_at_which_two_children_end_is_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two events that kill, side by side and at the end of the tried ones, and one at which a library exits
    found = tried(monkeypatch, place(0, 0), place(3, 2), kills={(0, 6), (0, 7)}, exits={(3, 4)})
    # Then these are condemned, and all others were tried once
    assert found.problem is None
    assert {n: set(offsets) for n, offsets in found.progress.condemned.items()} == {0: {6, 7}, 3: {4}}
    assert found.progress.condemned[0][6] == "ended by signal 9"
    assert found.progress.condemned[3][4] == "ended with exit code 3"
    assert found.progress.answered == 6 + 7


@pytest.mark.parametrize("how", ["terms", "fails"])
def test_a_child_that_somebody_ends_or_that_cannot_go_on_condemns_nothing(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried(monkeypatch, place(0, 0), **{how: {(0, 2)}})
    assert found.problem
    assert found.progress.condemned == {}


@pytest.mark.parametrize("limit", ["EVENT_SECONDS", "REHEARSAL_SECONDS"])
def test_a_child_that_hangs_is_ended_and_condemns_nothing(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a deadline, and an event at which the child hangs, as it does while Milvus answers no search
    monkeypatch.setattr(children, limit, 5.0)
    found = tried(monkeypatch, place(0, 0), hangs={(0, 2)})
    # Then the events go on in the worker
    assert found.problem == "the child process did not answer in time"
    assert found.progress.condemned == {}
    assert found.progress.answered == 2
    assert found.stage == "it answers the event at partition 0, offset 2"


def test_one_end_is_not_enough() -> None:
    progress = Progress.of([place(0, 4)], 8)
    for line in ({"begin": [0, 5]}, {"done": [0, 5]}, {"begin": [0, 6]}):
        progress.take(line)
    # When a child ends, and the next one outlives the same event
    assert progress.died("ended by signal 9")
    assert (progress.left[0].offset, progress.left[0].events) == (6, 7)
    for line in ({"begin": [0, 6]}, {"done": [0, 6]}):
        progress.take(line)
    # Then an end between two events says nothing
    assert not progress.died("ended by signal 9")
    assert progress.condemned == {}


def test_a_process_that_ends_before_any_event_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CHILD", ABORTS)
    found = tried(monkeypatch, place(0, 0))
    assert found.problem == "the child process ended with exit code 3 before it tried an event"
    assert found.progress.condemned == {}


def test_no_child_is_started_where_the_container_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "room_in_container", lambda: 2**20)
    found = tried(monkeypatch, place(0, 0))
    assert "1 MiB of memory left" in str(found.problem)


class Running:
    """A rehearsal that ends when the test sets `done`."""

    made: ClassVar[list["Running"]] = []

    def __init__(self, settings: object, positions: list[TopicPartition], events: int) -> None:  # noqa: ARG002
        self.positions = {p.partition: p.offset for p in positions}
        self.progress = Progress.of(positions, events)
        self.problem: str | None = None
        self.stage = "it loads the release"
        self.done = self.cancelled = False
        self.made.append(self)

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Rehearsals:
    Running.made = []
    monkeypatch.setattr(crashes, "Rehearsal", Running)
    return Rehearsals(load_settings(), Metrics(CollectorRegistry()))


class Polled:
    """An event whose value must not be decoded."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b"42"

    def value(self) -> bytes:
        return b"value"

    def timestamp(self) -> tuple[int, int]:
        return 1, 978300760000

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        return [("traceparent", b"t")]


def test_a_partition_waits_after_three_ends_until_its_events_are_tried(watched: Rehearsals) -> None:
    ends = {0: 3, 1: 2}
    positions = [place(0, 7), place(1, 7)]
    # When positions are known, and known again while the events are tried
    for _ in range(2):
        assert list(watched.due(positions, ends.__getitem__)) == [0]
    (running,) = Running.made
    assert watched.positions == {0: 7}
    running.done = True
    # Then it goes on after that, and is not tried again by this owner
    for _ in range(2):
        assert watched.due(positions, ends.__getitem__) == {}
    watched.gone([place(0, 0)])
    assert list(watched.due(positions, ends.__getitem__)) == [0]
    assert len(Running.made) == 2


def test_a_wait_for_a_child_is_logged_and_named_with_its_deadline(
    watched: Rehearsals, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    # Given a partition whose events a child tries
    watched.due([place(0, 7)], lambda _: 3)
    caplog.clear()
    # When the child has not ended at the next looks
    clock[0] += LOG_SECONDS / 2
    assert "since 5 s, for at most 180 s (it loads the release)" in watched.due([place(0, 7)], lambda _: 3)[0]
    assert not caplog.records
    clock[0] += LOG_SECONDS / 2
    watched.due([place(0, 7)], lambda _: 3)
    # Then the log names the partition, once in an interval
    watched.due([place(0, 7)], lambda _: 3)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("partitions [0] wait: 3 or more workers ended at the next events")


def test_a_partition_without_a_next_event_ended_no_worker_and_needs_no_child(watched: Rehearsals) -> None:
    # Given workers that were killed while they had three partitions, of which one has events
    positions = [place(0, 7), place(1, 7), place(2, 7)]
    # When their positions are known
    waiting = watched.due(positions, lambda _: 3, idle={0, 2})
    # Then that one alone waits for a child
    assert list(waiting) == [1]
    assert Running.made[0].positions == {1: 7}


def test_events_that_could_not_be_tried_are_answered_by_the_worker(watched: Rehearsals) -> None:
    watched.due([place(0, 7)], lambda _: 3)
    Running.made[0].done, Running.made[0].problem = True, "the store is away"
    assert watched.due([place(0, 7)], lambda _: 3) == {}
    assert watched.condemned == {}


def test_a_rehearsal_ends_with_its_last_partition(watched: Rehearsals) -> None:
    watched.due([place(0, 7), place(1, 7)], lambda _: 3)
    (running,) = Running.made
    watched.gone([place(0, 0)])
    assert not running.cancelled
    watched.gone([place(1, 0)])
    assert running.cancelled
    assert watched.positions == {}


def test_a_condemned_event_is_a_dead_letter_that_nothing_decodes(watched: Rehearsals) -> None:
    watched.due([place(0, 7)], lambda _: 3)
    Running.made[0].done = True
    Running.made[0].progress.condemned = {0: {8: "ended by signal 11"}}
    watched.due([place(0, 7)], lambda _: 3)
    # When events are taken around it
    before, guilty, after = watched.apart([Polled(7), Polled(8), Polled(9)])
    # Then it alone is another, whose value is in the dead letter and is not to be decoded
    assert (before.value(), guilty.value(), after.value()) == (b"value", None, b"value")
    answerer = object.__new__(Answerer)
    answerer._dead_letters = "marquee.dead-letters"
    served: Any = SimpleNamespace(name="20261121T101500-3f9c2a")
    decoded: Any = decode(guilty.value())
    answer = answerer._dead_letter(guilty, decoded, served)
    headers = dict(answer.record.headers)
    assert answer.reason is Reason.CRASHED
    assert (answer.record.key, answer.record.value) == (b"42", b"value")
    assert headers["marquee.reason"] == b"crashed"
    assert b"ended by signal 11" in (headers["marquee.error"] or b"")
    assert headers["traceparent"] == b"t"
    # And the next owner has to find it out again
    watched.gone([place(0, 0)])
    assert watched.condemned == {}
