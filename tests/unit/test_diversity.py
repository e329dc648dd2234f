"""Diverse lists are those of maximal marginal relevance as it is written down, chosen one movie at a time."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.profile import Filter, ProfileEvent
from schemas.settings import WorkerSettings
from tests.unit.lists import lists_of
from worker.retrieval.diversity import POOL, Diversity
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Hide
from worker.retrieval.lists import Pick, Wish
from worker.retrieval.retriever import SearchTarget
from worker.serving import Recommender

SCALE = 5.0
# Gains that are closer than this may be told apart otherwise by another order of the same sums.
CLOSE = 1e-6


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    lengths = [sum(a * a for a in vector) ** 0.5 for vector in (one, other)]
    return float(product / (lengths[0] * lengths[1]))


def literally(
    pool: list[Pick], vectors: dict[int, list[float]], k: int, strength: float
) -> list[Pick] | None:
    """The definition; None where a choice is so close that it may fall either way."""
    likeness = [[cosine(vectors[a.movie_id], vectors[b.movie_id]) for b in pool] for a in pool]
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
    return ExactIndex(np.arange(movies, dtype=np.int64) * 3 + 1, vectors)


def nobody_asks(_: Sequence[Filter]) -> Hide:
    raise AssertionError("nobody has a filter")


def found_by(index: ExactIndex, wishes: Sequence[Wish], seed: int) -> tuple[Any, list[list[Pick]]]:
    queries = np.random.default_rng(seed).standard_normal((len(wishes), 6)).astype(np.float32)
    found = index.best(queries, wishes, scale=SCALE, asked=nobody_asks)
    return found, found.picks()


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
    index, diversity, wishes = (
        index_of(movies, seed, cosine=cosine),
        Diversity(strength),
        [Wish(k) for k in ks],
    )
    found, pools = found_by(index, diversity.pools(wishes), seed)
    vectors = dict(zip(index.movie_ids.tolist(), index.vectors.astype(np.float64).tolist(), strict=True))
    expected = [literally(pool, vectors, k, strength) for pool, k in zip(pools, ks, strict=True)]
    assume(None not in expected)

    chosen = diversity.choose(found, wishes, index)

    assert chosen.picks() == expected
    assert chosen.lengths.tolist() == [min(k, movies) for k in ks]


@given(movies=st.integers(1, 200), k=st.integers(1, 100), seed=st.integers(0, 1_000))
def test_without_strength_and_where_there_is_no_choice_the_best_are_listed(
    movies: int, k: int, seed: int
) -> None:
    index, wishes = index_of(movies, seed, cosine=False), [Wish(k)]
    best = found_by(index, wishes, seed)[1]

    for strength in (0.0, *((0.5, 1.0) if k >= min(POOL, movies) else ())):
        pools = found_by(index, Diversity(strength).pools(wishes), seed)[0]
        assert Diversity(strength).choose(pools, wishes, index).picks() == best


def test_two_that_are_the_same_do_not_stand_beside_each_other_while_there_are_others() -> None:
    # Given the best movie twice, and one that is worse and unlike it
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    index = ExactIndex(np.array([1, 2, 3]), vectors)
    pools = lists_of([[Pick(1, 1.0), Pick(2, 1.0), Pick(3, 0.4)]])

    chosen = {
        strength: [pick.movie_id for pick in Diversity(strength).choose(pools, [Wish(2)], index).picks()[0]]
        for strength in (0.0, 0.4, 0.6)
    }

    assert chosen == {0.0: [1, 2], 0.4: [1, 2], 0.6: [1, 3]}


def test_batches_larger_than_a_turn_and_empty_lists() -> None:
    index, rng = index_of(80, 1, cosine=False), np.random.default_rng(2)
    wishes = [Wish(int(k)) for k in rng.integers(1, 100, 200)]
    pools = found_by(index, Diversity(0.5).pools(wishes), 3)[1]
    pools[7] = []

    together = Diversity(0.5).choose(lists_of(pools), wishes, index).picks()

    one_by_one = [
        Diversity(0.5).choose(lists_of([pool]), [wish], index).picks()[0]
        for pool, wish in zip(pools, wishes, strict=True)
    ]
    assert together == one_by_one
    assert together[7] == []


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_setting_turns_it_on_and_never_brings_back_what_was_left_out(strength: float) -> None:
    index = index_of(80, 4, cosine=False)
    queries = np.random.default_rng(5).standard_normal((1, 6)).astype(np.float32)
    first = index.best(queries, [Wish(5)], scale=SCALE, asked=nobody_asks).movie_ids.tolist()
    wish, withheld = Wish(10, frozenset(first[:3])), frozenset(first[3:])

    target = SearchTarget("c", 80, 6, SCALE, index, catalogue=cast(Any, None))
    vars(target)["filters"] = SimpleNamespace(asked=nobody_asks)
    release = SimpleNamespace(
        manifest=SimpleNamespace(release="r"), embed_profiles=lambda _: queries, user_tower=None
    )
    profile = ProfileEvent(k=10, exclude=first[:3])
    recommender = Recommender(diversity=strength)
    found = recommender.recommend(cast(Any, release), target, [profile], blocklist=withheld).lists

    best = index.best(queries, [wish], scale=SCALE, asked=nobody_asks, withheld=withheld)
    assert len(found.picks()[0]) == 10
    assert not (wish.never | withheld) & set(found.movie_ids.tolist())
    assert (found.picks() == best.picks()) is (strength == 0.0)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ValidationError):
        WorkerSettings(diversity=strength)
