"""How a shadow's answers compare, and that a canary splits a batch: each result names who made it."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

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
from worker.retrieval.lists import Wish
from worker.retrieval.retriever import FoundLists
from worker.serving.answer import Answerer
from worker.serving.cache import ListCache
from worker.serving.lineup import Lineup, Trial
from worker.serving.shadow import Comparison, Shadow, compare


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
def test_answers_compare_by_their_first_five(
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
    mixed: int = 0
    collection: str = "any"

    def foreign(self, _vectors: object, _lists: object) -> int:
        return self.mixed

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
    return Served(name, release, encoder, ListCache(0))


def answerer(lineup: Lineup, registry: CollectorRegistry, shadow: Shadow | None = None) -> Answerer:
    def lists(
        _served: object, _vectors: object, wishes: Sequence[Wish], _cancellation: object, **_: object
    ) -> FoundLists:
        return found([[] for _ in wishes])

    return Answerer(
        "dead-letters",
        cast(Any, SimpleNamespace(lineup=lambda: lineup)),
        cast(Any, SimpleNamespace(lists=lists)),
        Metrics(registry),
        shadow,
    )


def trial(kind: Any, candidate: Any, share: float) -> Trial:
    return Trial(
        TrialRecord(kind=kind, release=candidate.name, collection="b_1", share=share, epoch=1), candidate
    )


def events() -> list[PolledEvent]:
    return [
        PolledEvent(b'{"user_id": %d}' % user, ("profiles", 0, user), name=b"%d" % user)
        for user in range(1, 41)
    ]


def test_a_canary_answers_its_share_and_order_stays() -> None:
    canary = trial("canary", named("b"), 0.3)
    answers = answerer(Lineup(named("a"), 1, canary), CollectorRegistry()).answer(events(), Cancellation())

    assert [answer.event.offset() for answer in answers] == list(range(1, 41))
    by = {answer.event.key(): json.loads(answer.record.value or b"")["release"] for answer in answers}
    assert by == {event.key(): "b" if canary.takes(event) else "a" for event in events()}
    assert set(by.values()) == {"a", "b"}


def test_a_result_that_names_another_release_is_counted_and_not_published() -> None:
    registry = CollectorRegistry()
    answers = answerer(Lineup(named("a", says="b"), 1), registry).answer(events(), Cancellation())

    assert all(answer.record.topic == "dead-letters" for answer in answers)
    assert registry.get_sample_value("marquee_release_mismatches_total") == len(events())


def test_what_another_release_s_vectors_gave_is_counted_and_not_published() -> None:
    registry, mixed = CollectorRegistry(), named("a")
    mixed.mixed = 1
    answers = answerer(Lineup(mixed, 1), registry).answer(events(), Cancellation())

    assert all(answer.record.topic == "dead-letters" for answer in answers)
    assert registry.get_sample_value("marquee_release_mismatches_total") == len(events())


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
    lineup = Lineup(named("a"), 1, trial("shadow", candidate, 1.0))
    answers = answerer(lineup, registry, shadow).answer(events(), Cancellation())

    assert all(b'"a"' in (answer.record.value or b"") for answer in answers)
    assert done.wait(30)
