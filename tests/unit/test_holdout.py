"""What is held out is not learnt from, and is what the split says."""

from pathlib import Path

import numpy as np
import pytest

from ops.data.lines import DataError
from ops.data.movielens import MovieLens, load
from ops.evaluation.holdout import SPLITS, Holdout, by_time, by_user, hold_out


@pytest.fixture(scope="module")
def data(generated_data: Path) -> MovieLens:
    return load(generated_data)


def pairs(data: MovieLens, rows: np.ndarray) -> set[tuple[int, int]]:
    return set(zip(data.ratings.users[rows].tolist(), data.ratings.movies[rows].tolist(), strict=True))


def wanted(holdout: Holdout) -> set[tuple[int, int]]:
    cases = [*holdout.validation, *holdout.test]
    return {(case.user, movie) for case in cases for movie in case.wanted.tolist()}


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_that_is_wanted_is_learnt_or_known(data: MovieLens, tmp_path: Path, split: str) -> None:
    holdout = hold_out(data, tmp_path, split)

    assert not pairs(data, holdout.train) & wanted(holdout)
    tested = {(case.user, movie) for case in holdout.test for movie in case.wanted.tolist()}
    assert not pairs(data, holdout.not_test) & tested
    assert pairs(data, holdout.train) < pairs(data, holdout.not_test)
    for case in [*holdout.validation, *holdout.test]:
        assert not set(case.seen.tolist()) & set(case.wanted.tolist())
        assert case.recent.tolist() == case.seen[-200:].tolist() or not len(case.recent)


def test_the_last_movie_is_the_test_and_the_one_before_it_validation(data: MovieLens, tmp_path: Path) -> None:
    holdout = hold_out(data, tmp_path, "leave-one-out")

    movies = [data.ratings.movies[rows].tolist() for rows in by_user(data, by_time(data))]
    assert holdout.origin == "derived from the timestamps"
    assert {case.user: case.wanted.tolist() for case in holdout.test} == {
        user: watched[-1:] for user, watched in enumerate(movies)
    }
    for case in holdout.validation:
        assert case.wanted.tolist() == movies[case.user][-2:-1]
        assert case.seen.tolist() == movies[case.user][:-2]


def test_the_order_of_the_published_split_is_taken_where_there_is_its_file(
    data: MovieLens, tmp_path: Path
) -> None:
    # Given a file with three movies of one user, in an order that is not that of the timestamps
    user = int(data.users.ids[0])
    rows = by_user(data, by_time(data))[0][:3][::-1]
    ids = data.movies.movie_ids[data.ratings.movies[rows]].tolist()
    (tmp_path / "leave_one_out.txt").write_text(f"{user} {' '.join(map(str, ids))}\n")

    holdout = hold_out(data, tmp_path, "leave-one-out")

    assert holdout.origin == "leave_one_out.txt"
    assert data.movies.movie_ids[holdout.test[0].wanted].tolist() == ids[2:]
    assert data.movies.movie_ids[holdout.validation[0].wanted].tolist() == ids[1:2]
    assert holdout.train.tolist() == rows[:1].tolist()


def test_a_split_file_of_other_data_is_refused(data: MovieLens, tmp_path: Path) -> None:
    (tmp_path / "leave_one_out.txt").write_text(f"{data.users.ids[0]} 999999999\n")
    with pytest.raises(DataError, match="belongs to other data"):
        hold_out(data, tmp_path, "leave-one-out")

    np.save(tmp_path / "global_time_split.npy", np.zeros(3, np.uint8))
    with pytest.raises(DataError, match="0, 1 or 2 for each of"):
        hold_out(data, tmp_path, "global-time")


def test_global_time_learns_from_the_past_alone(data: MovieLens, tmp_path: Path) -> None:
    holdout = hold_out(data, tmp_path, "global-time")

    times = data.ratings.timestamps
    when = dict(zip(_pairs_in_order(data), times.tolist(), strict=True))
    latest = times[holdout.train].max()
    assert len(holdout.train) == pytest.approx(0.8 * len(times), rel=0.01)
    assert all(when[pair] >= latest for pair in wanted(holdout))


def test_global_time_takes_the_file_beside_the_data(data: MovieLens, tmp_path: Path) -> None:
    # Given a file that holds out other ratings than time would
    parts = np.zeros(len(data.ratings), np.uint8)
    parts[[0, 1]] = 1, 2
    np.save(tmp_path / "global_time_split.npy", parts)

    holdout = hold_out(data, tmp_path, "global-time")

    assert holdout.origin == "global_time_split.npy"
    assert wanted(holdout) == pairs(data, np.array([0, 1]))


def test_each_user_is_held_out_in_one_fold(data: MovieLens, tmp_path: Path) -> None:
    tested = [{case.user for case in hold_out(data, tmp_path, "users", fold).test} for fold in range(5)]

    assert sum(map(len, tested)) == len(set.union(*tested)) > 0.9 * len(data.users)
    holdout = hold_out(data, tmp_path, "users", 2)
    assert not tested[2] & set(data.ratings.users[holdout.train].tolist())
    for case in holdout.test:
        liked = data.ratings.stars[by_user(data, by_time(data))[case.user]] >= 4
        assert (len(case.wanted), len(case.recent), case.named) == (liked.sum(), 0, False)


def test_cold_movies_are_in_no_history(data: MovieLens, tmp_path: Path) -> None:
    holdout = hold_out(data, tmp_path, "cold-movies")

    assert holdout.cold is not None
    assert holdout.cold.sum() == pytest.approx(0.1 * len(data.movies), abs=2)
    assert not holdout.cold[data.ratings.movies[holdout.train]].any()
    for case in holdout.test:
        assert holdout.cold[case.wanted].all()
        assert not holdout.cold[case.recent].any()


def _pairs_in_order(data: MovieLens) -> list[tuple[int, int]]:
    return list(zip(data.ratings.users.tolist(), data.ratings.movies.tolist(), strict=True))
