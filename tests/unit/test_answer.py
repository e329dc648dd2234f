"""What fails in a batch: an event's own fault makes one dead letter, anybody else's makes none."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from schemas.dead_letter import Reason
from schemas.errors import SettingsError
from schemas.profile import ProfileEvent
from schemas.recommendation import Retrieval
from tests.unit.events import PolledEvent
from worker.answer import Answerer
from worker.batch import Event, Record
from worker.features import Unknowns
from worker.lineup import Lineup
from worker.metrics import Metrics
from worker.rank import Pick, Wish

POISON = 666


def encode(event: Event, profile: ProfileEvent, picks: Sequence[Pick], retrieval: Retrieval) -> Record:
    if profile.user_id == POISON:
        raise KeyError(POISON)
    return Record("recommendations", event.partition(), event.key(), b"{}", [])


def answerer(search: Callable[[Sequence[Wish]], list[list[Pick]]]) -> Answerer:
    release = SimpleNamespace(
        manifest=SimpleNamespace(release="r-1"),
        embed_profiles=lambda profiles: np.zeros((len(profiles), 2), dtype=np.float32),
        unknowns=lambda _: Unknowns(0, 0),
    )
    served = SimpleNamespace(
        release=release,
        name="r-1",
        encoder=SimpleNamespace(encode=encode),
        made=lambda record: bool(record.value),
    )
    retriever = SimpleNamespace(lists=lambda _served, _vectors, wishes, _is_ours: (search(wishes), "milvus"))
    serving = SimpleNamespace(lineup=lambda: Lineup(cast(Any, served), 1))
    return Answerer("dead-letters", cast(Any, serving), cast(Any, retriever), Metrics(CollectorRegistry()))


def events() -> list[PolledEvent]:
    users = (1, 2, POISON, 4, 5)
    return [
        PolledEvent(b'{"user_id": %d}' % user, ("profiles", 0, place)) for place, user in enumerate(users)
    ]


def test_an_event_that_cannot_be_answered_is_one_dead_letter_among_answers() -> None:
    answers = answerer(lambda wishes: [[] for _ in wishes]).answer(events(), lambda: True)

    assert [answer.event.offset() for answer in answers] == [0, 1, 2, 3, 4]
    assert [answer.reason for answer in answers] == [None, None, Reason.PROCESSING_FAILED, None, None]


def test_a_refused_token_makes_no_dead_letters() -> None:
    def refused(wishes: Sequence[Wish]) -> list[list[Pick]]:
        raise SettingsError("Milvus refused the token")

    with pytest.raises(SettingsError):
        answerer(refused).answer(events(), lambda: True)
