"""A member that missed an assignment rejoins the group: only after a timeout, and only where target and owned partitions stay different."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.settings import Settings
from worker.kafka import admin
from worker.kafka.admin import TOLD_SECONDS, AdminProcess, Reconciliation


def partitions(*numbers: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(partition=number) for number in numbers]


class Group:
    """The coordinator, the client, and the clock."""

    def __init__(self) -> None:
        self.target: list[SimpleNamespace] = partitions(0, 1)
        self.held = partitions(0, 1)
        self.member = "us"
        self.now = 100.0
        self.asked = 0
        self.error: KafkaError | None = None

    def memberid(self) -> str:
        return "us"

    def assignment(self) -> list[SimpleNamespace]:
        return self.held

    def describe_consumer_groups(
        self, groups: list[str], **_: object
    ) -> dict[str, "Future[SimpleNamespace]"]:
        self.asked += 1
        answer: Future[SimpleNamespace] = Future()
        if self.error:
            answer.set_exception(KafkaException(self.error))
        else:
            target = SimpleNamespace(topic_partitions=self.target)
            members = [SimpleNamespace(member_id=self.member, target_assignment=target)]
            answer.set_result(SimpleNamespace(members=members))
        return {groups[0]: answer}


class AtOnce:
    """In the place of the thread that waits for the child."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, call: Callable[[], object]) -> "Future[object]":
        answer: Future[object] = Future()
        try:
            answer.set_result(call())
        except KafkaException as error:
            answer.set_exception(error)
        return answer


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    group = Group()
    monkeypatch.setattr(admin, "_admins", {})
    monkeypatch.setattr(admin, "AdminClient", lambda _: group)
    monkeypatch.setattr(admin, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(AdminProcess, "call", lambda _, call, *arguments, **__: call(*arguments))
    monkeypatch.setattr(time, "monotonic", lambda: group.now)
    yield group


def missed_within(group: Group, asked: Reconciliation, seconds: float, timeouts: int) -> bool:
    """Whether a missed assignment was found within so many seconds."""
    end = group.now + seconds
    while group.now < end:
        if asked.missed(timeouts):
            return True
        group.now += 0.1
    return False


def ours(group: Group) -> Reconciliation:
    return Reconciliation(Settings(), group)  # type: ignore[arg-type]


def test_without_a_timeout_nobody_is_asked(group: Group) -> None:
    group.target = partitions(0)

    assert not missed_within(group, ours(group), 60.0, timeouts=0)
    assert group.asked == 0


def test_a_lasting_difference_is_a_lost_word(group: Group) -> None:
    group.target = partitions(0)
    asked = ours(group)

    assert not missed_within(group, asked, TOLD_SECONDS, timeouts=1)
    assert missed_within(group, asked, 3.0, timeouts=1)
    assert not missed_within(group, asked, 60.0, timeouts=1)  # once


def test_agreement_ends_the_suspicion_until_the_next_timeout(group: Group) -> None:
    asked = ours(group)

    assert not missed_within(group, asked, 60.0, timeouts=1)
    assert group.asked == 1
    assert not missed_within(group, asked, 60.0, timeouts=2)
    assert group.asked == 2


def test_what_changes_meanwhile_was_no_lost_word(group: Group) -> None:
    group.target = partitions(0)
    asked = ours(group)

    assert not missed_within(group, asked, TOLD_SECONDS - 1, timeouts=1)
    group.held = partitions(0, 1, 2)
    assert not missed_within(group, asked, TOLD_SECONDS - 1, timeouts=1)
    group.held = partitions(0)
    assert not missed_within(group, asked, 60.0, timeouts=1)


def test_a_group_that_does_not_know_us_says_so_itself(group: Group) -> None:
    group.member, group.target = "another", partitions(0)

    assert not missed_within(group, ours(group), 60.0, timeouts=1)
    assert group.asked == 1


def test_it_asks_again_for_as_long_as_there_is_no_answer(group: Group) -> None:
    group.target, group.error = partitions(0), KafkaError(KafkaError.REQUEST_TIMED_OUT)
    asked = ours(group)

    assert not missed_within(group, asked, 60.0, timeouts=1)
    group.error = None
    assert missed_within(group, asked, TOLD_SECONDS + 5.0, timeouts=1)
