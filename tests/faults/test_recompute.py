"""The swap scenario's own checks are checked: a result of another release is found out, and latencies are those of their spans."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.offline.diff import generated_profiles
from ops.offline.release import OfflineRelease
from schemas.settings import load_settings
from tests.faults.checker import Outcome, Sent
from tests.faults.latency import latencies
from tests.faults.recompute import Sample, differences
from worker.events import CopiedEvent
from worker.release.store import ReleaseStore


@pytest.fixture(scope="module")
def store(two_releases: Path) -> ReleaseStore:
    return ReleaseStore(str(two_releases))


@pytest.fixture(scope="module")
def sampled(store: ReleaseStore) -> list[Sample]:
    """Events and the results of the first release."""
    release = OfflineRelease(load_settings(store=store.url), store.names()[0])
    profiles = generated_profiles(release.served.release.catalogue.movie_ids.tolist(), 50, seed=3)
    events = [CopiedEvent(("profiles", 0), number, None, body) for number, body in enumerate(profiles, 1)]
    return [
        Sample(json.loads(answer.event.value() or b""), json.loads(answer.record.value or b""))
        for answer in release.answer(events)
    ]


def test_results_of_the_named_release_are_found_right(store: ReleaseStore, sampled: list[Sample]) -> None:
    assert list(differences(store, sampled)) == []


def altered(sampled: list[Sample]) -> Iterator[Sample]:
    first, second, third, *_ = sampled
    movies = first.result["movies"]
    yield replace(first, result=first.result | {"movies": movies[:-1]})
    yield replace(second, result=second.result | {"movies": second.result["movies"][::-1]})
    shifted = [movie | {"score": movie["score"] + 1e-3} for movie in third.result["movies"]]
    yield replace(third, result=third.result | {"movies": shifted})


def test_results_that_are_not_the_named_release_s_are_found_out(
    store: ReleaseStore, sampled: list[Sample]
) -> None:
    """All of those under the other's name, and each kind of small change."""
    other = store.names()[1]
    mixed = [replace(sample, result=sample.result | {"release": other}) for sample in sampled]
    assert len(list(differences(store, mixed))) == len(mixed)
    changed = list(altered(sampled))
    assert len(list(differences(store, changed))) == len(changed)


def test_latencies_are_of_the_events_made_within_the_spans() -> None:
    sent = [Sent(b"%d" % n, 0, n, None, made_at=float(n)) for n in range(10)]
    outcomes = [
        Outcome("recommendation", 0, n, b"%d" % n, None, None, stored_at=n + 0.01 * (n + 1))
        for n in range(10)
    ]
    found = latencies(sent, outcomes, [(7.5, 9.0), (1.0, 2.0)])
    assert found is not None
    assert (found.events, round(found.p50)) == (4, 60)
    assert latencies(sent, outcomes, [(20.0, 30.0)]) is None
