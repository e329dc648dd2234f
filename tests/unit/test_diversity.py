"""Diverse lists are those of maximal marginal relevance as it is written down, chosen one movie at a time."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.profile import ProfileEvent
from schemas.settings import WorkerSettings
from tests.unit.lists import Query, lists_of, queries_from
from worker.retrieval.diversity import POOL, Diversity
from worker.retrieval.exact import ExactIndex
from worker.retrieval.index import ItemIds, SearchTarget
from worker.retrieval.queries import Queries, RankedItem, RankedLists
from worker.serving import Recommender

SCALE = 5.0
# Another order of the same sums may swap gains that are closer than this.
CLOSE = 1e-6


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = [sum(a * a for a in vector) ** 0.5 for vector in (one, other)]
    return float(product / (lengths[0] * lengths[1]))


def literally(
    pool: list[RankedItem], vectors: dict[int, list[float]], k: int, strength: float
) -> list[RankedItem] | None:
    """The definition; None where a choice is so close that it may fall either way."""
    likeness = [[cosine(vectors[a.row], vectors[b.row]) for b in pool] for a in pool]
    relevance = [(pick.score - pool[-1].score) / ((pool[0].score - pool[-1].score) or 1.0) for pick in pool]
    chosen = [0] if pool else []
    while len(chosen) < min(k, len(pool)):
        gains = {}
        for place in range(len(pool)):
            if place not in chosen:
                nearest = max(likeness[place][other] for other in chosen)
                gains[place] = (1 - strength) * relevance[place] - strength * nearest
        ordered = sorted(gains, key=lambda place: (-gains[place], place))
        if len(ordered) > 1 and gains[ordered[0]] - gains[ordered[1]] < CLOSE:
            return None
        chosen.append(ordered[0])
    return [pool[place] for place in sorted(chosen)]


def index_of(movies: int, seed: int, *, cosine: bool) -> ExactIndex:
    vectors = np.random.default_rng(seed).standard_normal((movies, 6)).astype(np.float32)
    if cosine:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ExactIndex(vectors)


def asked_of(ks: Sequence[int], seed: int) -> Queries:
    vectors = np.random.default_rng(seed).standard_normal((len(ks), 6)).astype(np.float32)
    return queries_from([Query(k) for k in ks], vectors)


def found_by(index: ExactIndex, queries: Queries) -> tuple[RankedLists, list[list[RankedItem]]]:
    found = index.best(queries, scale=SCALE)
    return found, found.by_query()


@given(
    movies=st.integers(1, 90),
    ks=st.lists(st.integers(1, 100), min_size=1, max_size=5),
    strength=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 1_000),
    cosine=st.booleans(),
)
def test_lists_are_those_of_the_definition(
    movies: int, ks: list[int], strength: float, seed: int, cosine: bool
) -> None:
    index, diversity, queries = index_of(movies, seed, cosine=cosine), Diversity(strength), asked_of(ks, seed)
    found, pools = found_by(index, diversity.pools(queries))
    vectors = dict(enumerate(index.vectors.astype(np.float64).tolist()))
    expected = [literally(pool, vectors, k, strength) for pool, k in zip(pools, ks, strict=True)]
    assume(None not in expected)

    chosen = diversity.choose(found, queries.ks, index.vectors)

    assert chosen.by_query() == expected
    assert chosen.lengths.tolist() == [min(k, movies) for k in ks]


@given(movies=st.integers(1, 200), k=st.integers(1, 100), seed=st.integers(0, 1_000))
def test_without_strength_and_where_there_is_no_choice_the_best_are_listed(
    movies: int, k: int, seed: int
) -> None:
    index, queries = index_of(movies, seed, cosine=False), asked_of([k], seed)
    best = found_by(index, queries)[1]

    for strength in (0.0, *((0.5, 1.0) if k >= min(POOL, movies) else ())):
        pools = found_by(index, Diversity(strength).pools(queries))[0]
        assert Diversity(strength).choose(pools, queries.ks, index.vectors).by_query() == best


def test_a_copy_of_a_listed_movie_gives_way_to_another_movie() -> None:
    # Given the best movie twice, and one that is worse and unlike it
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    pools, ks = lists_of([[RankedItem(0, 1.0), RankedItem(1, 1.0), RankedItem(2, 0.4)]]), np.array([2])

    chosen = {
        strength: Diversity(strength).choose(pools, ks, vectors).rows.tolist() for strength in (0.0, 0.4, 0.6)
    }

    assert chosen == {0.0: [0, 1], 0.4: [0, 1], 0.6: [0, 2]}


def test_a_list_does_not_depend_on_the_others_of_its_batch() -> None:
    index, rng = index_of(80, 1, cosine=False), np.random.default_rng(2)
    queries = asked_of(rng.integers(1, 100, 200).tolist(), 3)
    pools = found_by(index, Diversity(0.5).pools(queries))[1]
    pools[7] = []

    together = Diversity(0.5).choose(lists_of(pools), queries.ks, index.vectors).by_query()

    one_by_one = [
        Diversity(0.5).choose(lists_of([pool]), np.array([k]), index.vectors).by_query()[0]
        for pool, k in zip(pools, queries.ks.tolist(), strict=True)
    ]
    assert together == one_by_one
    assert together[7] == []


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_diversity_follows_the_setting_and_never_lists_excluded_movies(strength: float) -> None:
    index = index_of(80, 4, cosine=False)
    items = ItemIds(np.arange(1, 81))
    target = SearchTarget("c", items, 6, SCALE, index)
    vectors = np.random.default_rng(5).standard_normal((1, 6)).astype(np.float32)
    first = index.best(queries_from([Query(5)], vectors), scale=SCALE).rows
    queries, blocked = queries_from([Query(10, first[:3].tolist())], vectors), first[3:]
    blocklist = frozenset(items.ids[blocked].tolist())

    release = SimpleNamespace(manifest=SimpleNamespace(release="r"), embed_profiles=lambda _: vectors)
    profile = ProfileEvent(k=10, exclude=items.ids[first[:3]].tolist())
    recommender = Recommender(diversity=strength)
    found = recommender.recommend(cast(Any, release), target, [profile], blocklist=blocklist).lists

    best = index.best(queries, scale=SCALE, blocklist=blocked)
    assert len(found.rows) == 10
    assert not set(first.tolist()) & set(found.rows.tolist())
    assert (found.by_query() == best.by_query()) is (strength == 0.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ValidationError):
        WorkerSettings(diversity=strength)
