"""Batches are published in order, once, and never after their epoch has ended."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.errors import FatalKafkaError
from tests.unit.events import PolledEvent
from worker.errors import AbortedError, RefusedError
from worker.events import Answer, Event, Record, positions_after
from worker.kafka.producer import WatchedCalls
from worker.monitoring.metrics import Metrics
from worker.monitoring.page import Latest
from worker.monitoring.threads import Cancellation
from worker.stream import publisher as module
from worker.stream.pipeline import DEPTH, Pipeline
from worker.stream.publisher import Publisher, Standstill
from worker.stream.session import Epoch

SECONDS = 5.0


def event(offset: int) -> PolledEvent:
    return PolledEvent(at=("profiles", 0, offset))


def answers(events: Sequence[Event], cancellation: Cancellation) -> list[Answer]:
    return [Answer(event, Record("recommendations", 0, None, b"{}", [])) for event in events]


def last_resort(answer: Answer, refusal: str) -> Answer:
    value = None if answer.reason else b"too large still"
    return Answer(answer.event, Record("dead-letters", 0, None, value, []), Reason.PROCESSING_FAILED)


class FakePublisher(Publisher):
    """Notes the answers, or fails on order."""

    def __init__(self) -> None:
        self.published: list[tuple[int, str]] = []
        self.transactions = 0
        self.fail: Callable[[Sequence[Answer]], None] = lambda _: None
        self.gate = threading.Event()
        self.gate.set()

        self.calls = WatchedCalls()
        self.starts = 0
        self.unanswered = 0  # requests for the transactional id that Kafka does not answer

    def start(self) -> None:
        self.starts += 1
        if self.unanswered:
            self.unanswered -= 1
            raise AbortedError("no answer")

    def discard(self) -> None: ...

    def publish(self, answers: Sequence[Answer], is_ours: Callable[[], bool]) -> list[TopicPartition]:
        self.gate.wait(SECONDS)
        if not is_ours():
            raise AbortedError("not ours")
        self.fail(answers)
        self.transactions += 1
        self.published += [(answer.event.offset(), answer.record.topic) for answer in answers]
        return positions_after(answer.event for answer in answers)

    @property
    def offsets(self) -> list[int]:
        return [offset for offset, _ in self.published]


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def epoch() -> Epoch:
    return Epoch()


def created(
    publisher: FakePublisher,
    answer: Callable[..., list[Answer]] = answers,
    *,
    transaction_bytes: int = 2**20,
    epoch: Epoch | None = None,
) -> Pipeline:
    metrics = Metrics(CollectorRegistry())
    return Pipeline(answer, last_resort, publisher, metrics, Latest(), transaction_bytes, epoch or Epoch())


def running(
    publisher: FakePublisher, answer: Callable[..., list[Answer]] = answers, epoch: Epoch | None = None
) -> Pipeline:
    pipeline = created(publisher, answer, epoch=epoch)
    pipeline.start()
    return pipeline


@pytest.fixture
def pipeline(publisher: FakePublisher, epoch: Epoch) -> Iterator[Pipeline]:
    pipeline = running(publisher, epoch=epoch)
    yield pipeline
    assert pipeline.close(SECONDS)


def test_publishes_in_order_although_a_later_batch_is_answered_first(publisher: FakePublisher) -> None:
    later_is_answered = threading.Event()

    def slow_first(events: Sequence[Event], cancellation: Cancellation) -> list[Answer]:
        if events[0].offset() == 0:
            later_is_answered.wait(SECONDS)
        else:
            later_is_answered.set()
        return answers(events, cancellation)

    pipeline = running(publisher, slow_first)
    pipeline.submit([event(0), event(1)], "size")
    pipeline.submit([event(2)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == [0, 1, 2]
    pipeline.close(SECONDS)


def test_a_transaction_holds_no_more_bytes_than_it_may(publisher: FakePublisher) -> None:
    """Dead letters are as large as their events: a transaction with too many of them would abort again and again."""
    pipeline = created(publisher, transaction_bytes=100)
    publisher.gate.clear()
    pipeline.start()
    for offset, size in enumerate((1, 60, 40, 10, 500, 5)):
        pipeline.submit([event(offset)], "size", size)
    while pipeline.answering:
        time.sleep(0.01)
    publisher.gate.set()

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == [0, 1, 2, 3, 4, 5]
    # The first was being published before the others were ready, or took one or two with it.
    assert publisher.transactions >= 4
    pipeline.close(SECONDS)


def test_batches_that_are_ready_share_a_transaction(pipeline: Pipeline, publisher: FakePublisher) -> None:
    publisher.gate.clear()
    for offset in range(DEPTH):
        pipeline.submit([event(offset)], "size")
    assert not pipeline.wait_for_room(0.05)

    publisher.gate.set()

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == list(range(DEPTH))
    assert publisher.transactions < DEPTH


def test_a_batch_that_waits_for_its_commit_is_not_being_answered(
    pipeline: Pipeline, publisher: FakePublisher
) -> None:
    publisher.gate.clear()
    pipeline.submit([event(0)], "drained")

    deadline = time.monotonic() + SECONDS
    while pipeline.answering and time.monotonic() < deadline:
        time.sleep(0.001)

    assert pipeline.answering == 0
    assert not pipeline.drain(0.0)
    publisher.gate.set()
    assert pipeline.drain(SECONDS)


def test_batches_of_an_ended_epoch_are_not_published(
    pipeline: Pipeline, publisher: FakePublisher, epoch: Epoch
) -> None:
    publisher.gate.clear()
    pipeline.submit([event(0)], "size")
    pipeline.submit([event(1)], "size")
    pipeline.abandon()
    publisher.gate.set()
    assert pipeline.drain(SECONDS)
    epoch.begin()
    pipeline.submit([event(0)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == [0]


def test_an_abort_ends_the_epoch_and_asks_for_a_rewind(pipeline: Pipeline, publisher: FakePublisher) -> None:
    def once(answers: Sequence[Answer]) -> None:
        publisher.fail = lambda _: None
        raise AbortedError("the commit timed out")

    publisher.fail = once
    publisher.gate.clear()
    pipeline.submit([event(0)], "size")
    pipeline.submit([event(1)], "size")
    publisher.gate.set()

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == []
    assert pipeline.take_aborted()
    assert not pipeline.take_aborted()


def test_an_unknown_outcome_is_settled_before_the_rewind(
    pipeline: Pipeline, publisher: FakePublisher
) -> None:
    """Only a new producer settles an unknown outcome, so positions that are read before it may be too low."""

    def once(answers: Sequence[Answer]) -> None:
        publisher.fail = lambda _: None
        raise AbortedError("the commit timed out")

    publisher.fail = once
    publisher.unanswered = 2

    pipeline.submit([event(0)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.starts == 3
    assert not pipeline.waits_for


class Hanging:
    """Publishing that hangs in a call until it is released, and then ends as ordered."""

    def __init__(self, publisher: FakePublisher, end: Callable[[], None] = lambda: None) -> None:
        self.entered, self.let_go, self.left = threading.Event(), threading.Event(), threading.Event()
        self._publisher, self._end = publisher, end
        publisher.fail = self

    def __call__(self, _: Sequence[Answer]) -> None:
        self._publisher.fail = lambda _: None
        self.entered.set()
        self.let_go.wait(SECONDS)
        self.left.set()
        self._end()


def fenced() -> None:
    raise FatalKafkaError("fenced by its successor")


def undone() -> None:
    raise AbortedError("timed out at last")


@pytest.mark.parametrize("end", [fenced, undone])
def test_a_call_that_hangs_is_left_behind(
    pipeline: Pipeline, publisher: FakePublisher, epoch: Epoch, end: Callable[[], None]
) -> None:
    """Its transaction aborts, a new producer goes on, and the result of the call is ignored."""
    hanging = Hanging(publisher, end)
    pipeline.submit([event(0)], "size")
    assert hanging.entered.wait(SECONDS)
    pipeline.submit([event(1)], "size")

    pipeline.leave_behind()

    assert pipeline.drain(SECONDS)
    assert publisher.starts == 1
    assert pipeline.take_aborted()
    assert pipeline.left_behind == 1
    epoch.begin()
    pipeline.submit([event(0), event(1)], "size")
    assert pipeline.drain(SECONDS)
    hanging.let_go.set()
    assert hanging.left.wait(SECONDS)
    while pipeline.left_behind:
        pipeline.raise_failure()
    pipeline.raise_failure()
    assert publisher.offsets == [0, 1]
    assert not pipeline.take_aborted()
    pipeline.submit([event(2)], "size")
    assert pipeline.drain(SECONDS)
    assert publisher.offsets == [0, 1, 2]


def test_events_polled_between_an_abort_and_the_rewind_are_not_published(
    pipeline: Pipeline, publisher: FakePublisher, epoch: Epoch
) -> None:
    """They lie behind the aborted events: their offsets would skip those."""

    def once(answers: Sequence[Answer]) -> None:
        publisher.fail = lambda _: None
        raise AbortedError("refused by the group")

    publisher.fail = once
    pipeline.submit([event(0)], "size")
    assert pipeline.drain(SECONDS)

    pipeline.submit([event(1)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == []
    epoch.begin()
    pipeline.submit([event(0), event(1)], "size")
    assert pipeline.drain(SECONDS)
    assert publisher.offsets == [0, 1]


def test_refused_records_are_halved_down_to_the_event(pipeline: Pipeline, publisher: FakePublisher) -> None:
    def too_large(answers: Sequence[Answer]) -> None:
        if any(a.event.offset() == 5 and a.record.topic == "recommendations" for a in answers):
            raise RefusedError("too large")

    publisher.fail = too_large
    pipeline.submit([event(offset) for offset in range(8)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.offsets == list(range(8))
    assert [topic for offset, topic in publisher.published if offset == 5] == ["dead-letters"]


def test_a_dead_letter_that_does_not_fit_goes_without_its_value(
    pipeline: Pipeline, publisher: FakePublisher
) -> None:
    def only_empty(answers: Sequence[Answer]) -> None:
        if any(a.record.value is not None for a in answers):
            raise RefusedError("too large")

    publisher.fail = only_empty
    pipeline.submit([event(0)], "size")

    assert pipeline.drain(SECONDS)
    assert publisher.published == [(0, "dead-letters")]


def test_where_each_record_is_refused_it_waits_and_names_the_remedy(
    publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_RETRY_SECONDS", 0.01)

    def nothing(answers: Sequence[Answer]) -> None:
        raise RefusedError("too large", "raise it")

    publisher.fail = nothing
    pipeline = running(publisher)
    pipeline.submit([event(0)], "size")
    while not pipeline.standstill:
        pipeline.raise_failure()
    assert "profiles-0-0" in pipeline.standstill
    assert "raise it" in pipeline.standstill

    publisher.fail = lambda _: None

    assert pipeline.drain(SECONDS)
    assert pipeline.standstill is None
    assert publisher.published == [(0, "recommendations")]  # the event itself is tried again
    assert pipeline.close(SECONDS)


def test_a_wait_for_a_topic_ends_with_the_partition(publisher: FakePublisher) -> None:
    def nothing(answers: Sequence[Answer]) -> None:
        raise RefusedError("too large", "raise it")

    publisher.fail = nothing
    pipeline = running(publisher)
    pipeline.submit([event(0)], "size")
    while not pipeline.standstill:
        pipeline.raise_failure()

    pipeline.abandon()

    assert pipeline.drain(SECONDS)
    assert pipeline.standstill is None
    assert publisher.published == []
    assert pipeline.close(SECONDS)


def test_repeated_aborts_are_a_standstill_until_a_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    standstill = Standstill()

    said = []
    for now in (100.0, 103.0, 106.0):  # noqa: B007  the clock reads it
        standstill.aborted("no partition 7")
        said.append(standstill.problem)
    assert said == [None, None, "no partition 7"]

    standstill.committed()
    assert standstill.problem is None
    standstill.aborted("once more")
    assert standstill.problem is None
    now = 200.0
    standstill.aborted("much later")
    assert standstill.problem is None


def test_a_failure_of_publishing_reaches_the_poll_thread(publisher: FakePublisher) -> None:
    def fenced(answers: Sequence[Answer]) -> None:
        raise FatalKafkaError("fenced")

    publisher.fail = fenced
    pipeline = running(publisher)
    pipeline.submit([event(0)], "size")
    pipeline.drain(SECONDS)

    with pytest.raises(FatalKafkaError):
        pipeline.raise_failure()
