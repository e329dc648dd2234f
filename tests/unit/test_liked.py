"""The part `liked` against its regression, written out densely. Paddle 2.6 and 3.3."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.training.closed_form import PEOPLE_RIDGE, PROFILE, fit_liked
from ops.training.sequence import SequenceModel
from worker.release.catalogue import Catalogue
from worker.release.features import Features, Vocabularies
from worker.release.paddle_engine import paddle

pytestmark = pytest.mark.paddle

PEOPLE, MOVIES, DIMENSION = 600, 60, 40
GENRES = ["Comedy", "Drama"]


@pytest.fixture(scope="module")
def people() -> dict[str, NDArray[np.int64]]:
    random = np.random.default_rng(0)
    sizes = {"gender": 2, "age": 7, "occupation": 21}
    return {name: random.integers(1, size + 1, PEOPLE) for name, size in sizes.items()}


@pytest.fixture(scope="module")
def likes(people: dict[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Women like the first half, men the second, and everybody comedies, which are the even ones."""
    half = np.arange(MOVIES) < MOVIES // 2
    chance = 0.05 + 0.3 * (half == (people["gender"] == 1)[:, None]) + 0.2 * (np.arange(MOVIES) % 2 == 0)
    drawn: NDArray[np.bool_] = np.random.default_rng(1).random((PEOPLE, MOVIES)) < chance
    assert drawn.any(axis=1).all()
    return drawn


@pytest.fixture(scope="module")
def fitted(
    people: dict[str, NDArray[np.int64]], likes: NDArray[np.bool_]
) -> tuple[SequenceModel, dict[str, NDArray[np.int64]]]:
    """A network, and the inputs of its movies, of which the last two were not seen in training."""
    titles = {number: (f"Movie {number} (1990)", [GENRES[number % 2]]) for number in range(MOVIES + 2)}
    catalogue = Catalogue.of(titles)
    features = Features(Vocabularies.of([], catalogue))
    network = SequenceModel(features.vocabularies, dimension=8, later=4, liked=DIMENSION)
    movies = features.movies(catalogue, ["movie_id", "genres", "title", "year"])
    fit_liked(
        network,
        {name: rows[:MOVIES] for name, rows in movies.items()},
        people,
        {user: np.flatnonzero(row) for user, row in enumerate(likes) if row.any()},
    )
    network.settle(movies, np.arange(MOVIES + 2) < MOVIES)
    network.eval()
    return network, movies


def scores(
    network: SequenceModel, movies: dict[str, NDArray[np.int64]], profile: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    vectors = network.movie.liked(*map(paddle.to_tensor, movies.values())).numpy()
    given = network.user.liked(*map(paddle.to_tensor, profile)).numpy()
    product: NDArray[np.float64] = given.astype(np.float64) @ vectors.T
    return product


def test_it_tells_what_the_regression_tells(
    fitted: tuple[SequenceModel, dict[str, NDArray[np.int64]]],
    people: dict[str, NDArray[np.int64]],
    likes: NDArray[np.bool_],
) -> None:
    network, movies = fitted
    sizes = (2, 7, 21)
    known = np.hstack(
        [np.eye(size + 1)[people[name]][:, 1:] for name, size in zip(PROFILE, sizes, strict=True)]
    )
    liked = likes.astype(float)
    mean = liked.mean(axis=0)
    added = np.linalg.solve(known.T @ known + PEOPLE_RIDGE * np.eye(known.shape[1]), known.T @ (liked - mean))
    expected = (mean + known @ added) / mean.std()

    found = scores(network, movies, [people[name] for name in PROFILE])[:, :MOVIES]

    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_who_is_unknown_gets_what_is_so_on_average(
    fitted: tuple[SequenceModel, dict[str, NDArray[np.int64]]],
    people: dict[str, NDArray[np.int64]],
) -> None:
    network, movies = fitted

    average = scores(network, movies, [people[name] for name in PROFILE]).mean(axis=0)
    unknown = scores(network, movies, [np.zeros(1, np.int64)] * 3)[0]

    np.testing.assert_allclose(unknown, average, rtol=1e-3, atol=1e-3)


def test_a_movie_that_nobody_rated_is_known_by_its_content(
    fitted: tuple[SequenceModel, dict[str, NDArray[np.int64]]],
) -> None:
    network, movies = fitted
    unknown = scores(network, movies, [np.zeros(1, np.int64)] * 3)[0]

    comedy, drama = unknown[MOVIES], unknown[MOVIES + 1]

    assert comedy > drama
    assert unknown[:MOVIES].min() < drama
    assert comedy < unknown[:MOVIES].max()
