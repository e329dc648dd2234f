"""How a shadow's answers compare, and that a canary splits a batch: each result names who made it."""

import json
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas.release import TrialRecord
from tests.unit.events import PolledEvent
from tests.unit.lists import found
from worker.events import Answer, Event, Record
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.release.features import Unknowns
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import ItemIds
from worker.retrieval.queries import RankedItem
from worker.serving import Answerer, Recommender
from worker.serving.cache import ListCache
from worker.serving.candidate import Candidate, Comparison, Serving, Shadow, compare


def result(*movies: tuple[int, float]) -> bytes:
    return json.dumps({"movies": [{"movie_id": movie, "score": score} for movie, score in movies]}).encode()


@pytest.mark.parametrize(
    ("active", "candidate", "found"),
    [
        ([(1, 2.0), (2, 1.0)], [(2, 2.0), (1, 1.0)], Comparison(1.0, 0.0)),
        ([(1, 2.0), (2, 1.0)], [(2, 3.0), (3, 2.0)], Comparison(0.5, 1.0)),
        ([(n, 1.0) for n in range(8)], [(n, 1.0) for n in range(4, 12)], Comparison(0.2, 0.0)),
        ([], [], Comparison(1.0, 0.0)),
        ([(1, 1.0)], [], Comparison(0.0, 0.0)),
    ],
)
def test_results_are_compared_by_their_top_five(
    active: list[tuple[int, float]], candidate: list[tuple[int, float]], found: Comparison
) -> None:
    assert compare(result(*active), result(*candidate)) == found


@dataclass(eq=False)
class Served:
    """What answering takes of a release."""

    name: str
    release: Any
    encoder: Any
    cache: ListCache
    target: Any = field(
        default_factory=lambda: SimpleNamespace(exact=None, collection="any", items=ItemIds(np.arange(1, 10)))
    )

    def made(self, record: Record) -> bool:
        return f'"{self.name}"'.encode() in (record.value or b"")


def named(name: str, says: str | None = None) -> Any:
    """A release whose results name it, or `says` instead."""

    def encode(event: Event, *_: object) -> Record:
        value = b'{"movies":[],"release":"%b"}' % (says or name).encode()
        return Record("recommendations", event.partition(), event.key(), value, [])

    release = SimpleNamespace(
        manifest=SimpleNamespace(release=name),
        embed_profiles=lambda profiles: np.zeros((len(profiles), 2), dtype=np.float32),
        unknowns=lambda _: Unknowns(0, 0),
    )
    encoder = SimpleNamespace(encode=encode, movies=lambda lists: [b""] * len(lists.lengths))
    return Served(name, release, encoder, ListCache(0, fields=("k",)))


def answerer(serving: Serving, registry: CollectorRegistry, shadow: Shadow | None = None) -> Answerer:
    metrics = Metrics(registry)
    recommender = Recommender(lambda _target, queries, *_: found([[]] * len(queries)), observer=metrics)
    return Answerer("dead-letters", lambda: serving, recommender, metrics, shadow=shadow)


def trial(kind: Any, candidate: Any, share: float) -> Candidate:
    return Candidate(
        TrialRecord(kind=kind, release=candidate.name, collection="b_1", share=share, epoch=1), candidate
    )


def events() -> list[PolledEvent]:
    return [
        PolledEvent(b'{"user_id": %d}' % user, ("profiles", 0, user), name=b"%d" % user)
        for user in range(1, 41)
    ]


def test_a_canary_answers_its_share_and_the_order_stays() -> None:
    canary = trial("canary", named("b"), 0.3)
    answers = answerer(Serving(named("a"), 1, canary), CollectorRegistry()).answer(events(), Cancellation())

    assert [answer.event.offset() for answer in answers] == list(range(1, 41))
    by = {answer.event.key(): json.loads(answer.record.value or b"")["release"] for answer in answers}
    assert by == {event.key(): "b" if canary.takes(event) else "a" for event in events()}
    assert set(by.values()) == {"a", "b"}


def test_a_result_that_names_another_release_is_counted_and_not_published() -> None:
    registry = CollectorRegistry()
    answers = answerer(Serving(named("a", says="b"), 1), registry).answer(events(), Cancellation())

    assert all(answer.record.topic == "dead-letters" for answer in answers)
    assert registry.get_sample_value("marquee_release_mismatches_total") == len(events())


def test_lists_of_the_vectors_of_another_release_are_counted_and_not_published() -> None:
    registry, served = CollectorRegistry(), named("a")
    served.target.exact = ExactIndex(np.ones((2, 2), np.float32))
    served.target.scale = 1.0
    metrics = Metrics(registry)
    recommender = Recommender(lambda *_: found([[RankedItem(1, 9.0)]]), observer=metrics)
    of = Answerer("dead-letters", lambda: Serving(served, 1), recommender, metrics)
    answers = of.answer(events()[:1], Cancellation())

    assert [answer.record.topic for answer in answers] == ["dead-letters"]
    assert registry.get_sample_value("marquee_release_mismatches_total") == 1


def test_a_shadow_publishes_nothing_and_compares() -> None:
    registry = CollectorRegistry()
    candidate, done = named("b"), threading.Event()

    def recommend(readable: Any, by: Any, cancellation: Cancellation) -> list[Answer]:
        assert by is candidate
        cancellation.check()
        assert [event.offset() for event, _ in readable] == list(range(1, 41))
        done.set()
        return []

    shadow = Shadow(recommend, Metrics(CollectorRegistry()))
    lineup = Serving(named("a"), 1, trial("shadow", candidate, 1.0))
    answers = answerer(lineup, registry, shadow).answer(events(), Cancellation())

    assert all(b'"a"' in (answer.record.value or b"") for answer in answers)
    assert done.wait(30)
