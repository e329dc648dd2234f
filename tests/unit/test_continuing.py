"""Training that goes on keeps every id at its place, takes the weights over, and knows who is new."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.data.movielens import MovieLens, load
from ops.evaluation.holdout import Source
from ops.training import next_movie
from ops.training.continuing import start_from
from ops.training.hyperparameters import Hyperparameters, SequenceHyperparameters
from ops.training.loop import TrainingError
from ops.training.train import train_fusion, train_sequence
from schemas.profile import ProfileEvent
from worker.errors import ReleaseError
from worker.release.store import ReleaseStore

pytestmark = pytest.mark.paddle

SMALL = SequenceHyperparameters(
    epochs=2,
    dimension=16,
    heads=2,
    blocks=1,
    batch=2_000,
    people=64,
)


def before(data: MovieLens) -> MovieLens:
    """The data as it was once: without the users and movies whose number is a multiple of five."""
    users, movies, ratings = data.users, data.movies, data.ratings
    there = np.arange(len(movies)) % 5 != 0
    old = (np.arange(len(users)) % 5 != 0)[ratings.users] & there[ratings.movies]
    kept = ratings.take(old)
    rows = np.cumsum(there) - 1
    return replace(
        data, movies=movies.take(there), ratings=replace(kept, movies=rows[kept.movies]), fingerprint="old"
    )


@pytest.mark.parametrize("model", ["fusion", "sequence"])
def test_training_goes_on(
    model: str, generated_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other people are there to choose the heads' weights by, and for the regression; here both are to stay.
    monkeypatch.setattr(
        next_movie,
        "best_weights",
        lambda *_: ([[0.0, 0.5, 0.5, 0.0], *[[0.5, 0.3, 0.2, 0.1]] * 3], np.ones(1)),
    )
    monkeypatch.setattr(next_movie, "fit_liked", lambda *_: None)
    monkeypatch.setattr(next_movie, "fit_kin", lambda *_: None)
    data, store = load(generated_data), ReleaseStore(str(tmp_path / "store"))
    old = before(data)

    def train(data: MovieLens, **more: object) -> str:
        source = Source(data, Path(), "leave-one-out")
        if model == "fusion":
            hyper = Hyperparameters(epochs=3, batch=512)
            return train_fusion(data, store, more.pop("hyper", hyper), source=source, **more).manifest.release  # type: ignore[arg-type]
        return train_sequence(source, store, more.pop("hyper", SMALL), **more).manifest.release  # type: ignore[arg-type]

    first = train(old)
    start = start_from(store, first, model)
    hyper = replace(
        start.suited(Hyperparameters() if model == "fusion" else SMALL), epochs=1, learning_rate=1e-9
    )
    # So slow that nothing moves: what comes out is what was taken over.
    second = train(start.with_movies_of(data), start=start, hyper=hyper)

    one, two = store.load(first), store.load(second)
    ids, more_ids = one.features.vocabularies, two.features.vocabularies
    for entries in ("users", "movies", "genres", "words"):
        known = getattr(ids, entries)
        assert getattr(more_ids, entries)[: len(known)] == known
    assert len(more_ids.movies) == len(data.movies) > len(ids.movies)
    assert two.manifest.training["continued_from"] == first
    known_users = [id_ for id_ in ids.users if id_ in set(more_ids.users)][:20]
    watched = ids.movies[:10]
    people = [ProfileEvent(user_id=id_, gender="F", age=30, recent=watched) for id_ in known_users]
    assert np.allclose(one.embed_profiles(people), two.embed_profiles(people), atol=1e-4)
    places = np.searchsorted(two.catalogue.movie_ids, one.catalogue.movie_ids)
    assert np.allclose(
        one.embed_movies(0, len(one.catalogue)), two.embed_movies(0, len(two.catalogue))[places], atol=1e-4
    )


def test_what_does_not_fit_is_refused(fusion_store: str, generated_data: Path) -> None:
    store = ReleaseStore(fusion_store)
    release = store.names()[0]

    with pytest.raises(ReleaseError, match="--model fusion"):
        start_from(store, release, "sequence")

    start = start_from(store, release, "fusion")
    grown = {name: np.zeros((1, 7), np.float32) for name in start.weights}
    with pytest.raises(TrainingError, match="have shape"):
        train_fusion(
            load(generated_data), store, Hyperparameters(epochs=1), start=replace(start, weights=grown)
        )

    # Nor is a network of other heads: its weights have other names.
    fewer = dict(list(start.weights.items())[1:])
    with pytest.raises(TrainingError, match="without --from"):
        train_fusion(
            load(generated_data), store, Hyperparameters(epochs=1), start=replace(start, weights=fewer)
        )
