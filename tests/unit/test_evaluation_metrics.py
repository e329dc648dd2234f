"""Metrics, intervals and baselines against what a person counts by hand."""

import numpy as np
import pytest

from ops.data.movielens import MovieLens, Users
from ops.data.ratings import Ratings
from ops.evaluation import beyond, metrics
from ops.evaluation.baselines import item_knn, mean_stars, popularity, popularity_among_alike
from ops.evaluation.holdout import Case
from ops.evaluation.metrics import mean_figure
from worker.release.catalogue import Catalogue

NOTHING = np.empty(0, np.int64)


def lists(*rows: list[int]) -> np.ndarray:
    return np.array([row + [-1] * (metrics.CUT - len(row)) for row in rows])


def test_ndcg_and_recall_of_lists_counted_by_hand() -> None:
    wanted = [np.array([7]), np.array([1, 2]), np.array([5])]
    found = metrics.hits(lists([3, 7], [1, 9, 2], [1, 2]), wanted)

    ndcg = metrics.ndcg(found, np.array([1, 2, 1]))

    second, third = 1 / np.log2(3), 1 / np.log2(4)
    assert ndcg.tolist() == pytest.approx([second, (1 + third) / (1 + second), 0.0])
    assert metrics.recall(found, np.array([1, 2, 1])).tolist() == [1.0, 1.0, 0.0]


def test_more_than_ten_wanted_movies_can_still_be_found_perfectly() -> None:
    found = metrics.hits(lists(list(range(10))), [np.arange(30)])

    assert metrics.ndcg(found, np.array([30])).tolist() == pytest.approx([1.0])


def test_ties_go_to_the_smaller_row_also_at_the_cut() -> None:
    scores = np.zeros((1, 14), np.float32)
    scores[0, 13] = 1.0

    assert metrics.best(scores)[0].tolist() == [13, *range(9)]


def test_what_was_seen_is_left_out_and_an_empty_place_is_no_movie() -> None:
    scores = np.array([[3.0, 2.0, 1.0]], np.float32)

    top = metrics.top(scores, [np.array([0])])[0].tolist()

    assert top == [1, 2] + [-1] * 8
    assert scores[0, 0] == 3.0  # the caller's scores are its own


def test_an_interval_holds_the_mean_and_narrows_with_more_people() -> None:
    values = np.random.default_rng(3).random(400)

    few, many = mean_figure(values[:40]), mean_figure(values)

    assert few.low is not None and few.high is not None and many.low is not None and many.high is not None
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    # The normal approximation's, which 400 values obey.
    assert many.high - many.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_difference_of_pairs_is_surer_than_that_of_its_parts() -> None:
    ours = np.random.default_rng(1).random(300)
    theirs = ours - 0.01

    difference = mean_figure(ours - theirs)

    assert difference.low == pytest.approx(0.01)
    assert mean_figure(ours).low < mean_figure(theirs).value  # type: ignore[operator]


def test_always_the_same_ten_of_twenty_movies() -> None:
    same, even = lists(list(range(10)), list(range(10))), lists(list(range(10)), list(range(10, 20)))

    assert (beyond.coverage(same, 20), beyond.coverage(even, 20)) == (0.5, 1.0)
    assert beyond.gini(same, 20) == pytest.approx(0.5)
    assert beyond.gini(even, 20) == pytest.approx(0.0)


@pytest.fixture
def data() -> MovieLens:
    """Users 0 and 1 are young women who saw movies 0 and 1, user 2 an old man who saw 2, users 3 and 4 young men with 3."""
    ratings = Ratings(
        users=np.array([0, 0, 1, 1, 2, 3, 4]),
        movies=np.array([0, 1, 0, 1, 2, 3, 3]),
        stars=np.array([5, 4, 5, 4, 1, 3, 3], np.float32),
        timestamps=np.arange(7),
    )
    users = Users(
        np.arange(1, 6), ["F", "F", "M", "M", "M"], np.array([18, 18, 56, 18, 18]), np.zeros(5, np.int64)
    )
    return MovieLens(users, Catalogue.of({id_: (f"M {id_}", []) for id_ in range(1, 5)}), ratings, "")


def ranked(scores: np.ndarray) -> list[int]:
    return list(np.argsort(-scores[0], kind="stable").tolist())


def test_baselines_rank_as_they_say(data: MovieLens) -> None:
    case = Case(2, NOTHING, np.array([0]), NOTHING)

    assert popularity(data, data.ratings)([case])[0].tolist() == [2, 2, 1, 2]
    # The only old man saw nothing but movie 2; for what is left, everybody's taste is better than none.
    assert ranked(popularity_among_alike(data, data.ratings)([case])) == [2, 0, 1, 3]
    # Who saw movie 0 saw movie 1, and nobody saw another beside it.
    assert item_knn(data, data.ratings)([case])[0].tolist() == pytest.approx([0.0, 1.0, 0.0, 0.0])
    assert ranked(mean_stars(data, data.ratings)([case]))[0] == 0
