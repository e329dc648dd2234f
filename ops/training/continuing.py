"""Training that continues a release: its vocabularies with new entries appended, and its weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from ops.data.movielens import MovieLens
from ops.training.loop import State, TrainingError
from ops.training.sequence import SIZES
from schemas.manifest import CATALOGUE_FILE, VOCABULARIES_FILE, WEIGHTS_FILE, Manifest
from worker.errors import ReleaseError
from worker.release.catalogue import Catalogue
from worker.release.features import Vocabularies
from worker.release.paddle_engine import paddle
from worker.release.store import ReleaseStore

Hyper = TypeVar("Hyper", bound=Any)

# Shares of the epochs and the learning rate of a training from nothing. The weights are good already, and must not be thrown far;
# at a rate of 0.3 both models came out a little worse.
EPOCHS_SHARE = 1 / 3
RATE_SHARE = 0.6


@dataclass(frozen=True)
class Start:
    """The release that a training continues."""

    manifest: Manifest
    vocabularies: Vocabularies
    catalogue: Catalogue
    weights: State

    def suited(self, hyper: Hyper) -> Hyper:
        """The hyper-parameters of a training from nothing, as suits one that goes on."""
        training = self.manifest.training
        sizes = {name: training[name] for name in SIZES if name in training}
        passes = {
            name: max(1, int(getattr(hyper, name) * EPOCHS_SHARE))
            for name in ("epochs", "missing_passes", "later_passes")
            if hasattr(hyper, name)
        }
        return replace(hyper, learning_rate=hyper.learning_rate * RATE_SHARE, **passes, **sizes)

    def extended(self, users: Sequence[int], catalogue: Catalogue) -> Vocabularies:
        """Every entry at its place, and new entries after them, sorted."""
        old = self.vocabularies
        new = Vocabularies.of(users, catalogue)
        return Vocabularies(
            users=_appended(old.users, new.users),
            movies=_appended(old.movies, new.movies),
            genres=_appended(old.genres, new.genres),
            words=_appended(old.words, new.words),
            genres_length=max(old.genres_length, new.genres_length),
            title_length=max(old.title_length, new.title_length),
        )

    def with_movies_of(self, data: MovieLens) -> MovieLens:
        """The data, and the movies that only the release has: it goes on recommending them."""
        ours, theirs = self.catalogue, data.movies
        movies = {
            id_: (title, genres)
            for part in (ours, theirs)
            for id_, title, genres in zip(part.movie_ids.tolist(), part.titles, part.genres, strict=True)
        }
        catalogue = Catalogue.of(movies)
        rows = np.searchsorted(catalogue.movie_ids, theirs.movie_ids)[data.ratings.movies]
        return replace(data, movies=catalogue, ratings=replace(data.ratings, movies=rows))


def start_from(store: ReleaseStore, release: str, model: str) -> Start:
    """Read a release to go on from.

    Raises:
        ReleaseError: it is missing or corrupt, of another model, or was written without weights.
    """
    manifest = store.manifest(release)
    if manifest.model != model:
        raise ReleaseError(
            f"release {release} holds a {manifest.model} model: go on from it with --model {manifest.model}"
        )
    if WEIGHTS_FILE not in manifest.files:
        raise ReleaseError(f"release {release} has no {WEIGHTS_FILE}: train from nothing, without --from")
    folder = store.fetch(manifest)
    weights = paddle.load(str(folder / WEIGHTS_FILE), return_numpy=True)
    vocabularies = Vocabularies.model_validate_json((folder / VOCABULARIES_FILE).read_bytes())
    return Start(manifest, vocabularies, Catalogue.read(folder / CATALOGUE_FILE), weights)


def take_over(network: Any, weights: State) -> None:
    """Give a network the weights of a smaller one of its kind; new rows begin as the unknown.

    Row 0 of a table is the unknown, or padding, which is all zeros: there, new rows keep their initial values.

    Raises:
        TrainingError: it is not larger, but of another shape, or made of other heads.
    """
    if network.state_dict().keys() - weights.keys():
        raise TrainingError(
            "the release is of an older Marquee, whose sequence model had other heads: train from nothing, without --from"
        )
    taken = {
        name: _grown(name, tensor.numpy(), weights[name]) for name, tensor in network.state_dict().items()
    }
    network.set_state_dict(taken)


def _grown(name: str, first: np.ndarray, old: np.ndarray) -> np.ndarray:
    if first.shape == old.shape:
        return old
    if first.shape[1:] != old.shape[1:] or len(first) < len(old):
        raise TrainingError(
            f"the weights {name} of the release have shape {list(old.shape)}, and {list(first.shape)} is asked for: "
            "leave --dimension out"
        )
    grown = first.copy()
    grown[: len(old)] = old
    if old[0].any():
        grown[len(old) :] = old[0]
    return grown


def _appended(old: list[Any], new: list[Any]) -> list[Any]:
    there = set(old)
    return [*old, *(entry for entry in new if entry not in there)]
