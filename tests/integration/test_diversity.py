"""Diverse lists through the topics: from Milvus and from the exact copy, with filters, exclusions and withdrawals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from producer.endings import Result
from producer.withdrawals import write_withdrawals
from schemas.recommendation import Recommendation
from schemas.settings import Settings
from schemas.withdrawal import Withdrawal
from tests.integration.test_constraints import Catalogue, asking, assert_best
from tests.integration.test_worker import everything, publish
from tests.testbed.indexing import activate
from tests.testbed.processes import Process
from worker.release.store import ReleaseStore

EVENTS = 150
STRENGTH = 0.4
POOL = 50
# Choices whose gains are closer than this may fall either way: the scores of two ways differ in the sixth place.
CLOSE = 1e-4


def assert_diverse(listed: list[int], qualifying: pd.DataFrame, unit: pd.DataFrame, k: int) -> None:
    """The list is what maximal marginal relevance chooses, one movie after another, from the first 50 that qualify."""
    pool = qualifying.head(POOL).set_index("movie_id").score
    relevance = (pool - pool.min()) / (pool.max() - pool.min())
    likeness = pd.DataFrame(unit.loc[pool.index] @ unit.loc[pool.index].T)
    left = [movie for movie in pool.index if movie in listed]
    assert sorted(left) == sorted(listed)
    chosen = [left.pop(0)]
    assert relevance[chosen[0]] == pytest.approx(1.0, abs=CLOSE)
    while left:
        gains = (1 - STRENGTH) * relevance - STRENGTH * likeness[chosen].max(axis=1)
        best = gains[left].idxmax()
        assert gains[best] >= gains.drop(chosen).max() - CLOSE
        chosen.append(best)
        left.remove(best)
    assert len(chosen) == k


def test_diverse_lists_are_the_same_from_milvus_and_from_the_exact_copy(
    settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"store": fusion_store})
    release = ReleaseStore(settings.store).load(activate(settings).release)
    exact = Catalogue(release)
    events = asking(release.catalogue.movie_ids.tolist())[:EVENTS]
    gone = exact.best(events[0] | {"filter": None}).movie_id.head(5).tolist()
    write_withdrawals(settings, {movie_id: Withdrawal() for movie_id in gone})
    unit = pd.DataFrame(exact.vectors, index=exact.movies.movie_id)

    found: dict[str, dict[int, Recommendation]] = {}
    for turn, retrieval in enumerate(("milvus", "exact"), 1):
        sent = publish(settings, [json.dumps(event).encode() for event in events])
        with Process(
            "worker",
            settings,
            tmp_path,
            MARQUEE_WORKER__RETRIEVAL=retrieval,
            MARQUEE_WORKER__DIVERSITY=str(STRENGTH),
        ) as worker:
            outcomes = everything(settings, turn * EVENTS, seconds=240)
            assert worker.stop() == 0
        results = [outcome for outcome in outcomes if isinstance(outcome, Result) and outcome.source in sent]
        found[retrieval] = {one.recommendation.user_id or 0: one.recommendation for one in results}
        assert found[retrieval].keys() == set(range(1, EVENTS + 1))

    for by_user in found.values():
        for user, result in by_user.items():
            check(result, events[user - 1], exact, unit, gone)
    assert {result.retrieval for result in found["milvus"].values()} == {"milvus", "exact"}
    lists = [
        [[movie.movie_id for movie in of[user].movies] for user in found["exact"]] for of in found.values()
    ]
    # What may fall either way does so now and then.
    assert np.mean([one == other for one, other in zip(*lists, strict=True)]) > 0.95


def check(
    result: Recommendation, event: dict[str, Any], exact: Catalogue, unit: pd.DataFrame, gone: list[int]
) -> None:
    qualifying = exact.best(event)
    qualifying = qualifying[~qualifying.movie_id.isin(gone)]
    movies = [(movie.movie_id, movie.score) for movie in result.movies]
    assert [score for _, score in movies] == sorted((score for _, score in movies), reverse=True)
    if event["k"] >= min(POOL, len(qualifying)):  # nothing to choose
        assert_best(movies, qualifying, event["k"])
        return
    edge = qualifying.score.iloc[POOL - 1 : POOL + 1]
    if len(edge) == 2 and -np.diff(edge)[0] < CLOSE:
        return  # the fiftieth movie may be one of two
    assert_diverse([movie_id for movie_id, _ in movies], qualifying, unit, event["k"])
