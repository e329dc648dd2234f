"""The part `kin` against what it is made of, written out. Paddle 2.6 and 3.3."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ops.training.closed_form import fit_kin
from ops.training.sequence import SequenceModel
from worker.release.catalogue import Catalogue
from worker.release.features import Features, Vocabularies
from worker.release.paddle_engine import paddle

pytestmark = pytest.mark.paddle

FAMILY, GROWN_UP, ROMANCE = ["Animation", "Children's"], ["Animation"], ["Romance"]
KINDS = [FAMILY] * 6 + [GROWN_UP] * 2 + [ROMANCE] * 12
ROOM = 8


def fitted(kinds: list[list[str]], kin: int = ROOM) -> tuple[SequenceModel, dict[str, NDArray[np.int64]]]:
    catalogue = Catalogue.of({row + 1: (f"Movie {row} (1990)", genres) for row, genres in enumerate(kinds)})
    features = Features(Vocabularies.of([], catalogue))
    network = SequenceModel(features.vocabularies, dimension=8, later=4, liked=4, kin=kin)
    movies = features.movies(catalogue, ["movie_id", "genres", "title", "year"])
    fit_kin(network, movies)
    network.settle(movies, np.ones(len(kinds), bool))
    network.eval()
    return network, movies


def vectors(network: SequenceModel, movies: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    said: NDArray[np.float64] = network.movie.kin(paddle.to_tensor(movies["genres"])).numpy()
    return said.astype(np.float64)


def person(network: SequenceModel, *histories: list[int]) -> NDArray[np.float64]:
    """Of rows of movies, oldest first."""
    recent = np.zeros((len(histories), max(map(len, histories))), np.int64)
    for row, history in zip(recent, histories, strict=True):
        row[: len(history)] = np.array(history, np.int64) + 1
    given: NDArray[np.float64] = network.user.kin(paddle.to_tensor(recent)).numpy()
    return given.astype(np.float64)


def test_a_product_of_two_movies_is_that_of_their_centred_and_scaled_genres() -> None:
    network, movies = fitted(KINDS)
    genres = sorted({genre for kind in KINDS for genre in kind})
    said = np.array([[genre in kind for genre in genres] for kind in KINDS], float)
    centred = (said - said.mean(axis=0)) / np.sqrt(said.std(axis=0))
    expected = centred @ centred.T

    found = vectors(network, movies) @ vectors(network, movies).T

    np.testing.assert_allclose(found, expected / np.sqrt((expected**2).mean()), rtol=1e-4, atol=1e-5)


def test_who_watched_what_is_for_children_is_not_shown_what_is_for_none_of_them_first() -> None:
    network, movies = fitted(KINDS)

    scores = person(network, [0, 1, 2])[0] @ vectors(network, movies).T

    assert scores[3] > scores[6] > scores[8]


def test_a_history_is_the_mean_of_its_movies() -> None:
    network, movies = fitted(KINDS)
    said = vectors(network, movies)
    long, short, nothing = person(network, [8, 0, 6, 1], [0, 8], [])

    np.testing.assert_allclose(long, said[[8, 0, 6, 1]].mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(short, said[[0, 8]].mean(axis=0), rtol=1e-4, atol=1e-6)
    assert not nothing.any()


def test_fewer_dimensions_than_genres_keep_what_tells_movies_apart_most() -> None:
    network, movies = fitted(KINDS, kin=2)
    said = vectors(network, movies)

    assert said.shape == (len(KINDS), 2)
    scores = person(network, [0, 1, 2])[0] @ said.T
    assert min(scores[3], scores[6]) > 0 > scores[8]


def test_movies_that_no_genre_tells_apart_are_alike() -> None:
    network, movies = fitted([FAMILY] * 5)

    assert not vectors(network, movies).any()
