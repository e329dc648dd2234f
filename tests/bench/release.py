"""A release of any size for measuring: fusion's towers with fewer dimensions, or the sequence model's, untrained.

How fast it is embedded and searched does not depend on what it has learnt.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from ops.data.titles import GENRES
from ops.training.export import write_release
from ops.training.fusion import ID_SIZE, PROFILE_SIZE, Fusion
from ops.training.sequence import SequenceModel
from schemas.manifest import Data
from worker.release.catalogue import Catalogue
from worker.release.features import Vocabularies
from worker.release.paddle_engine import paddle
from worker.release.store import ReleaseStore

Kind = Literal["fusion", "sequence"]

# ml-1m's sizes; the dimension stays what it was, whatever the models' is, so that figures of different days compare.
USERS, MOVIES, DIMENSION = 6_040, 3_883, 64
_SEED = 1


class Narrow(Fusion):
    """Fusion with vectors of DIMENSION instead of 200."""

    dimension = DIMENSION

    def __init__(self, vocabularies: Vocabularies) -> None:
        super().__init__(vocabularies)
        self.user.fuse = paddle.nn.Linear(ID_SIZE + 3 * PROFILE_SIZE, DIMENSION)
        self.movie.fuse = paddle.nn.Linear(3 * ID_SIZE, DIMENSION)


def bench_store(directory: Path, movies: int = MOVIES, kind: Kind = "fusion") -> str:
    """A store with one release of so many movies, made where `directory` holds none yet."""
    store = ReleaseStore(str(directory / f"store-{kind}-{movies}"))
    if not store.names():
        paddle.seed(_SEED)
        catalogue = invented_catalogue(movies)
        vocabularies = Vocabularies.of(range(1, USERS + 1), catalogue)
        data = Data(fingerprint=f"invented-{movies}", split="all", users=USERS, movies=movies, ratings=0)
        network = (
            Narrow(vocabularies) if kind == "fusion" else SequenceModel(vocabularies, dimension=DIMENSION)
        )
        training = {"seed": _SEED, "steps": 0, "dimension": DIMENSION}
        write_release(store, kind, network, vocabularies, catalogue, data, training)
    return store.url


def invented_catalogue(movies: int) -> Catalogue:
    """Movies 1 to n with titles of few words, so that a million of them make no larger vocabulary than 4,000."""
    random = np.random.default_rng(_SEED)
    years = random.integers(1920, 2001, movies).tolist()
    genres = random.integers(len(GENRES), size=(movies, 2)).tolist()
    return Catalogue.of(
        {
            number: (
                f"Tales of the {number % 1_000} and {number // 1_000} ({year})",
                sorted({GENRES[first], GENRES[second]}),
            )
            for number, (year, (first, second)) in enumerate(zip(years, genres, strict=True), 1)
        }
    )
