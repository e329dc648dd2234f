"""Fixtures of real data and real releases: generated, trained for a few seconds, written once a session."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from ops.training.hyperparameters import SequenceHyperparameters


@pytest.fixture(scope="session")
def generated_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small generated catalogue, its users and ratings."""
    from ops.data.generate import Sizes, generate

    folder = tmp_path_factory.mktemp("data")
    generate(folder, seed=7, sizes=Sizes(users=300, movies=250, ratings=20_000))
    return folder


@pytest.fixture(scope="session")
def fusion_store(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store (its folder, as a URL takes it) with one fusion release, trained on `generated_data`."""
    store = str(tmp_path_factory.mktemp("store"))
    train_release(generated_data, store, seed=1)
    return store


@pytest.fixture(scope="session")
def sequence_store(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one small sequence release, trained on `generated_data` but for each person's last two movies."""
    from ops.data.movielens import load
    from ops.evaluation.holdout import Source
    from ops.training.train import train_sequence
    from worker.release.store import ReleaseStore

    store = str(tmp_path_factory.mktemp("sequence-store"))
    source = Source(load(generated_data), generated_data, "leave-one-out")
    train_sequence(source, ReleaseStore(store), small_sequence(epochs=5))
    return store


def small_sequence(**chosen: int) -> "SequenceHyperparameters":
    """Hyper-parameters that learn `generated_data` in seconds."""
    from ops.training.hyperparameters import SequenceHyperparameters

    small = {"dimension": 16, "blocks": 1, "batch": 800, "people": 64, "epochs": 1}
    return SequenceHyperparameters(learning_rate=1e-2, dropout=0.1, **(small | chosen))


@pytest.fixture(scope="session")
def two_releases(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with two releases, to be copied by whoever writes to it."""
    store = tmp_path_factory.mktemp("two-releases")
    for seed in (1, 2):
        train_release(generated_data, str(store), seed=seed, epochs=1)
    return store


def train_release(data: Path, store: str, *, seed: int, epochs: int = 2) -> str:
    """Train another release into a store, and give its name."""
    from ops.data.movielens import load
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.train import train_fusion
    from worker.release.store import ReleaseStore

    hyper = Hyperparameters(epochs=epochs, batch=1024, seed=seed)
    return train_fusion(load(data), ReleaseStore(store), hyper).manifest.release


def write_untrained_release(folder: Path, movies: int, dimension: int) -> str:
    """Write a store with one release, an untrained sequence model over `movies` generated movies."""
    from ops.data.titles import ADJECTIVES, GENRE_WORDS, GENRES
    from ops.training.export import write_release
    from ops.training.sequence import SequenceModel
    from schemas.manifest import Data
    from worker.release.catalogue import Catalogue
    from worker.release.features import Vocabularies
    from worker.release.store import ReleaseStore

    most_genres = 3
    rng = np.random.default_rng(0)
    nouns = [noun for words in GENRE_WORDS.values() for noun in words]
    chosen = rng.integers((len(ADJECTIVES), len(nouns), 1920), (0x7FFFFFFF, 0x7FFFFFFF, 2026), (movies, 3))
    titles = [
        f"{ADJECTIVES[first % len(ADJECTIVES)]} {nouns[second % len(nouns)]} ({year})"
        for first, second, year in chosen.tolist()
    ]
    counts = rng.integers(1, most_genres + 1, movies).tolist()
    starts = rng.integers(0, len(GENRES) - most_genres, movies).tolist()
    genres = [list(GENRES[start : start + count]) for start, count in zip(starts, counts, strict=True)]
    catalogue = Catalogue(
        np.arange(1, movies + 1, dtype=np.int64), titles, genres, chosen[:, 2].astype(np.int32)
    )
    vocabularies = Vocabularies.of([], catalogue)
    sizes = {"later": dimension // 4, "liked": dimension // 8, "kin": dimension // 8}
    sizes |= {"dimension": dimension - sum(sizes.values()), "heads": 2, "blocks": 1}
    network = SequenceModel(vocabularies, **sizes)
    data = Data(fingerprint="0" * 64, split="all", users=0, movies=movies, ratings=0)
    store = ReleaseStore(str(folder))
    store.create()
    write_release(store, "sequence", network, vocabularies, catalogue, data, sizes)
    return str(folder)


def trained_store(directory: Path, seed: int) -> str:
    """A store with one small fusion release, made where `directory` holds none yet."""
    from ops.data.generate import Sizes, generate
    from ops.data.movielens import load
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.train import train_fusion
    from worker.release.store import ReleaseStore

    store = ReleaseStore(str(directory / "store"))
    if not store.names():
        generate(directory / "data", seed=seed, sizes=Sizes(users=300, movies=400, ratings=20_000))
        train_fusion(load(directory / "data"), store, Hyperparameters(epochs=2, batch=1_024, seed=seed))
    return str(directory / "store")
