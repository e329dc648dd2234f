"""Fixtures of real data and real releases: generated, trained for a few seconds, written once a session."""

from pathlib import Path

import pytest


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


def train_release(data: Path, store: str, *, seed: int, epochs: int = 2) -> str:
    """Train another release into a store, and give its name."""
    from ops.data.movielens import load
    from ops.training.fit import Hyperparameters
    from ops.training.train import train_fusion
    from worker.store import ReleaseStore

    hyper = Hyperparameters(epochs=epochs, batch=1024, seed=seed)
    return train_fusion(load(data), ReleaseStore(store), hyper).manifest.release
