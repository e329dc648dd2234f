"""Which events a candidate takes."""

from typing import Any, cast

import pytest

from schemas.release import TrialRecord
from tests.unit.events import PolledEvent
from worker.events import Event
from worker.serving.candidate import Candidate, share_of

KEYS = [str(user).encode() for user in range(1, 10_001)]


def canary(share: float, release: str = "b") -> Candidate:
    record = TrialRecord(kind="canary", release=release, collection="b_1", share=share, epoch=1)
    return Candidate(record, cast(Any, None))


def event(key: bytes | None, offset: int = 0) -> Event:
    return PolledEvent(b"{}", ("profiles", 0, offset), name=key)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_candidate_takes_its_share_of_the_keys(share: float) -> None:
    taken = sum(canary(share).takes(event(key)) for key in KEYS)
    assert taken / len(KEYS) == pytest.approx(share, abs=0.02)


def test_a_larger_share_holds_the_smaller() -> None:
    small, large = canary(0.1), canary(0.3)
    assert all(large.takes(event(key)) for key in KEYS if small.takes(event(key)))


def test_the_place_of_a_key_is_the_same_in_every_worker() -> None:
    """The value is part of the contract between workers of two versions: a change would move people around."""
    assert share_of("20261121T101500-3f9c2a", b"42") == pytest.approx(0.0122164, abs=1e-6)
    assert {canary(0.5).takes(event(b"42", offset)) for offset in range(100)} == {
        canary(0.5).takes(event(b"42"))
    }


def test_another_candidate_takes_other_keys() -> None:
    first = {key for key in KEYS if canary(0.1, "b").takes(event(key))}
    second = {key for key in KEYS if canary(0.1, "c").takes(event(key))}
    assert len(first & second) < len(first) / 2


def test_events_without_a_key_are_routed_by_partition_and_offset() -> None:
    taken = sum(canary(0.5).takes(event(None, offset)) for offset in range(1_000))
    assert 400 < taken < 600


def test_a_share_of_zero_takes_no_key_and_of_one_takes_all() -> None:
    assert all(canary(1.0).takes(event(key)) for key in KEYS)
