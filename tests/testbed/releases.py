"""Generated data and trained releases, each made once in a run of tests, however many processes it has."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from ops.training.hyperparameters import SequenceHyperparameters


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of this test process, filled by `make` in one of the run's processes and copied into the others."""
    own = factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made-once" / name
    shared.parent.mkdir(exist_ok=True)
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            unfinished = factory.mktemp(name)
            make(unfinished)
            shutil.copytree(unfinished, shared.with_suffix(".part"))
            shared.with_suffix(".part").rename(shared)
    return Path(shutil.copytree(shared, factory.mktemp(name) / name))


@pytest.fixture(scope="session")
def generated_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small generated catalogue, its users and ratings."""
    from ops.data.generate import Sizes, generate

    sizes = Sizes(users=300, movies=250, ratings=20_000)
    return made_once(tmp_path_factory, "data", lambda folder: generate(folder, seed=7, sizes=sizes))


@pytest.fixture(scope="session")
def fusion_store(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store with one fusion release, trained on `generated_data`."""
    return str(
        made_once(
            tmp_path_factory, "store", lambda folder: train_release(generated_data, str(folder), seed=1)
        )
    )


@pytest.fixture(scope="session")
def sequence_store(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one small sequence release, trained on `generated_data` without the last two movies of each user."""
    from ops.data.movielens import load
    from ops.evaluation.holdout import Source
    from ops.training.train import train_sequence
    from worker.release.store import ReleaseStore

    def train(folder: Path) -> None:
        source = Source(load(generated_data), generated_data, "leave-one-out")
        train_sequence(source, ReleaseStore(str(folder)), small_sequence(epochs=5))

    return str(made_once(tmp_path_factory, "sequence-store", train))


@pytest.fixture(scope="session")
def two_releases(generated_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with two releases; tests that write to it copy it."""

    def train(folder: Path) -> None:
        for seed in (1, 2):
            train_release(generated_data, str(folder), seed=seed, epochs=1)

    return made_once(tmp_path_factory, "two-releases", train)


def small_sequence(**chosen: int) -> "SequenceHyperparameters":
    """Hyper-parameters that learn `generated_data` in seconds."""
    from ops.training.hyperparameters import SequenceHyperparameters

    small = {"dimension": 16, "blocks": 1, "batch": 800, "people": 64, "epochs": 1}
    return SequenceHyperparameters(learning_rate=1e-2, dropout=0.1, **(small | chosen))


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
    from ops.data.generate import ADJECTIVES, GENRE_WORDS, GENRES
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
