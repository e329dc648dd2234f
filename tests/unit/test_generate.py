"""Generated data is ml-1m's format, the same for the same seed, and holds tastes that popularity does not know."""

from pathlib import Path

import numpy as np
import pytest

from ops.data.generate import FEWEST_RATINGS, Sizes, generate
from ops.data.lines import DataError
from ops.data.movielens import MovieLens, load
from ops.evaluation.baselines import baselines
from ops.evaluation.stars import random_split

SIZES = Sizes(users=200, movies=150, ratings=8_000)
NAMES = ("users.dat", "movies.dat", "ratings.dat")


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in NAMES]


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate(tmp_path / name, seed, SIZES)

    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert all(a != c for a, c in zip(contents(tmp_path / "a"), contents(tmp_path / "c"), strict=True))


def test_is_read_by_the_loader_in_the_sizes_asked_for(tmp_path: Path) -> None:
    generate(tmp_path, 0, SIZES)
    data = load(tmp_path)

    assert (len(data.users), len(data.movies), len(data.ratings)) == (200, 150, 8_000)
    assert np.bincount(data.ratings.users).min() >= FEWEST_RATINGS
    assert len(set(zip(data.ratings.users, data.ratings.movies, strict=True))) == 8_000
    assert len(set(data.movies.titles)) == 150
    assert (data.movies.years >= 1900).all()


def genre_means(data: MovieLens, group: np.ndarray) -> np.ndarray:
    """Mean stars of each genre's movies, from the users of a group."""
    names = sorted({name for genres in data.movies.genres for name in genres})
    member = np.array([[name in genres for name in names] for genres in data.movies.genres])
    of_group = group[data.ratings.users]
    rated = member[data.ratings.movies[of_group]]
    return np.asarray((rated * data.ratings.stars[of_group, None]).sum(0) / rated.sum(0))


def test_genders_differ_in_taste(tmp_path: Path) -> None:
    generate(tmp_path, 0, Sizes(users=600, movies=300, ratings=40_000))
    data = load(tmp_path)
    female = np.array([gender == "F" for gender in data.users.genders])
    coin = np.random.default_rng(0).permutation(female)

    planted = np.abs(genre_means(data, female) - genre_means(data, ~female)).mean()
    by_chance = np.abs(genre_means(data, coin) - genre_means(data, ~coin)).mean()

    assert planted > 2 * by_chance


def test_users_differ_beyond_the_movies_mean(tmp_path: Path) -> None:
    generate(tmp_path, 0, SIZES)
    data = load(tmp_path)
    split = random_split(data.ratings, 0)

    figures = baselines(split.not_test, split.test, len(data.users), len(data.movies))

    assert figures["biases"] < figures["item_mean"] < figures["global_mean"]


def test_what_is_watched_tells_more_than_popularity(tmp_path: Path) -> None:
    sizes = Sizes()
    generate(tmp_path, 0, sizes)
    data = load(tmp_path)
    split = random_split(data.ratings, 0)
    watched = np.zeros((sizes.users, sizes.movies), np.float32)
    watched[split.not_test.users, split.not_test.movies] = 1
    together = watched.T @ watched * (1 - np.eye(sizes.movies, dtype=np.float32))
    popularity = watched.sum(0)

    def hits(scores: np.ndarray) -> int:
        """How many of the movies held out are among their users' first ten that are not known yet."""
        first = np.argsort(np.where(watched > 0, -np.inf, scores), axis=1)[:, -10:]
        return int((first[split.test.users] == split.test.movies[:, None]).sum())

    by_history = watched @ (together / np.sqrt(np.outer(popularity, popularity) + 1))
    assert hits(by_history) > 1.1 * hits(np.tile(popularity, (sizes.users, 1)))


def test_refuses_sizes_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="100 ratings do not fit 200 users"):
        generate(tmp_path, 0, Sizes(users=200, movies=150, ratings=100))
