"""Training learns what is in the data, twice the same, and gives up gracefully. Run on Paddle 2.6 and 3.3."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.data.lines import DataError
from ops.data.movielens import MovieLens, load
from ops.data.ratings import Ratings
from ops.evaluation.baselines import baselines, rmse
from ops.evaluation.stars import random_split
from schemas.profile import ProfileEvent
from worker.release.features import Features, Vocabularies
from worker.release.store import ReleaseStore

pytestmark = pytest.mark.paddle


@pytest.fixture(scope="module")
def data(generated_data: Path) -> MovieLens:
    return load(generated_data)


def ratings(stars: list[float], users: list[int], movies: list[int]) -> Ratings:
    return Ratings(
        np.array(users), np.array(movies), np.array(stars, np.float32), np.zeros(len(stars), np.int64)
    )


def test_split_is_the_published_one_and_leaks_nothing(data: MovieLens) -> None:
    # Given each rating's line as its timestamp
    lines = np.arange(len(data.ratings))
    split = random_split(replace(data.ratings, timestamps=lines), seed=5)

    np.random.seed(0)
    published = [line for line in lines if np.random.random() < 0.1]
    assert split.test.timestamps.tolist() == published
    parts = [split.train.timestamps, split.validation.timestamps, split.test.timestamps]
    assert np.array_equal(np.sort(np.concatenate(parts)), lines)
    assert np.array_equal(np.sort(np.concatenate(parts[:2])), split.not_test.timestamps)


def test_too_few_ratings_are_refused() -> None:
    with pytest.raises(DataError, match="3 ratings are too few"):
        random_split(ratings([1, 2, 3], users=[0, 0, 0], movies=[0, 1, 2]), seed=0)


def test_a_training_that_runs_away_is_no_release(data: MovieLens) -> None:
    from ops.training.fusion import fit
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.loop import TrainingError

    features = Features(Vocabularies.of(data.users.ids.tolist(), data.movies))
    with pytest.raises(TrainingError, match="lower --lr"):
        fit(data, random_split(data.ratings, 0), features, Hyperparameters(epochs=1, learning_rate=1e38))


def test_baselines_of_ratings_counted_by_hand() -> None:
    # Given two movies rated 5 and 1 by everybody
    train = ratings([5, 5, 1, 1], users=[0, 1, 0, 1], movies=[0, 0, 1, 1])
    test = ratings([5, 1], users=[2, 2], movies=[0, 1])

    figures = baselines(train, test, users=3, movies=2)

    assert figures["global_mean"] == pytest.approx(2.0)
    assert figures["item_mean"] == pytest.approx(0.0)
    assert 0.0 < figures["biases"] < 2.0


def test_predictions_are_cut_to_stars() -> None:
    assert rmse(np.array([9.0, -3.0]), np.array([5.0, 1.0])) == 0.0


def test_learns_more_than_the_movies_mean(data: MovieLens) -> None:
    from ops.training.fusion import fit
    from ops.training.hyperparameters import Hyperparameters

    split = random_split(data.ratings, 0)
    features = Features(Vocabularies.of(data.users.ids.tolist(), data.movies))

    result = fit(data, split, features, Hyperparameters(epochs=6, batch=512))

    beside = baselines(split.not_test, split.test, len(data.users), len(data.movies))
    assert result.test_rmse is not None
    assert result.test_rmse < beside["item_mean"] < beside["global_mean"]


def test_same_seed_gives_the_same_weights(data: MovieLens) -> None:
    from ops.training.devices import use_threads
    from ops.training.fusion import fit
    from ops.training.hyperparameters import Hyperparameters

    use_threads(1)
    split = random_split(data.ratings, 0)
    features = Features(Vocabularies.of(data.users.ids.tolist(), data.movies))

    def weights(seed: int) -> np.ndarray:
        network = fit(data, split, features, Hyperparameters(epochs=1, seed=seed)).network
        return np.concatenate([tensor.numpy().ravel() for tensor in network.state_dict().values()])

    first = weights(3)
    assert np.array_equal(first, weights(3))
    assert not np.array_equal(first, weights(4))


def test_every_unknown_row_is_trained(data: MovieLens) -> None:
    from ops.training.fusion import fit
    from ops.training.hyperparameters import Hyperparameters

    split = random_split(data.ratings, 0)
    features = Features(Vocabularies.of(data.users.ids.tolist(), data.movies))

    def rows(epochs_seen: float) -> list[np.ndarray]:
        interrupted = iter([False] * 8 + [True]) if epochs_seen else iter([True])
        network = fit(data, split, features, Hyperparameters(), interrupted=lambda: next(interrupted)).network
        tower = network.user
        embeddings = [part[0] for part in (tower.user, tower.gender, tower.age, tower.occupation)]
        return [embedding.weight.numpy()[0] for embedding in [*embeddings, network.movie.movie]]

    for before, after in zip(rows(0), rows(1), strict=True):
        assert np.abs(before - after).max() > 1e-3


def test_an_interrupted_training_still_gives_a_release(data: MovieLens, tmp_path: Path) -> None:
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.train import train_fusion

    steps = 0

    def interrupted() -> bool:
        nonlocal steps
        steps += 1
        return steps == 3

    store = ReleaseStore(str(tmp_path))
    trained = train_fusion(data, store, Hyperparameters(), interrupted=interrupted)

    assert (trained.interrupted, steps) == (True, 3)
    assert store.load(trained.manifest.release).manifest.training["interrupted"] is True


def test_keeps_the_weights_of_the_best_epoch(data: MovieLens, monkeypatch: pytest.MonkeyPatch) -> None:
    from ops.training import fusion as module
    from ops.training.batches import Tables
    from ops.training.fusion import Fusion
    from ops.training.hyperparameters import Hyperparameters

    # Given a validation that finds the second of four epochs best
    figures = iter([0.9, 0.7, 0.8, 0.75])
    measure, states = module.evaluate, []

    def evaluate(network: Fusion, tables: Tables, part: Ratings) -> float:
        states.append({name: tensor.numpy().copy() for name, tensor in network.state_dict().items()})
        return next(figures, None) or measure(network, tables, part)

    monkeypatch.setattr(module, "evaluate", evaluate)
    split = random_split(data.ratings, 0)
    features = Features(Vocabularies.of(data.users.ids.tolist(), data.movies))

    result = module.fit(data, split, features, Hyperparameters(epochs=4, batch=4096))

    assert result.validation_rmse == [0.9, 0.7, 0.8, 0.75]
    for name, tensor in result.network.state_dict().items():
        assert np.array_equal(tensor.numpy(), states[1][name])


def test_the_release_serves_what_was_trained(fusion_store: str, data: MovieLens) -> None:
    store = ReleaseStore(fusion_store)
    release = store.load(store.names()[0])
    test = random_split(data.ratings, seed=1).test
    users = [
        ProfileEvent(user_id=id_, gender=gender, age=age, occupation=occupation)
        for id_, gender, age, occupation in zip(
            data.users.ids.tolist(),
            data.users.genders,
            data.users.ages.tolist(),
            data.users.occupations.tolist(),
            strict=True,
        )
    ]

    user_vectors, movie_vectors = release.embed_profiles(users), release.embed_movies(0, len(data.movies))

    scores = release.manifest.score_scale * (user_vectors[test.users] * movie_vectors[test.movies]).sum(1)
    stars = release.manifest.stars
    assert stars is not None
    measured = rmse(stars.slope * scores + stars.intercept, test.stars)
    assert measured == pytest.approx(release.manifest.training["rmse_stars"]["test"], abs=1e-4)
