"""Training from a folder of data to a release in the store."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from ops.data.movielens import MovieLens
from ops.training.baselines import baselines
from ops.training.export import write_release
from ops.training.fit import Hyperparameters, Progress, fit
from ops.training.split import random_split
from schemas.manifest import Data, Manifest
from worker.features import Features, Vocabularies
from worker.store import ReleaseStore


@dataclass(frozen=True)
class Trained:
    """A release and what it reached on the ratings held out."""

    manifest: Manifest
    rmse: float  # stars
    baselines: dict[str, float]  # stars
    epochs: int
    seconds: float
    interrupted: bool


def train_fusion(
    data: MovieLens,
    store: ReleaseStore,
    hyper: Hyperparameters,
    *,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Trained:
    """Fit the fusion model, write the release, and compare it with the baselines on the same held-out ratings.

    The baselines are fitted on everything that is not held out, the ratings that choose the weights among it.
    """
    store.create()  # rather than fail after the training
    split = random_split(data.ratings, hyper.seed)
    vocabularies = Vocabularies.of(data.users.ids.tolist(), data.movies)
    fitted = fit(data, split, Features(vocabularies), hyper, report=report, interrupted=interrupted)
    beside = baselines(split.not_test, split.test, len(data.users), len(data.movies))
    training = asdict(hyper) | {
        "epochs_run": len(fitted.validation_rmse),
        "interrupted": fitted.interrupted,
        "rmse_stars": {"test": fitted.test_rmse, "validation": min(fitted.validation_rmse)} | beside,
        "seconds": round(fitted.seconds, 1),
    }
    manifest = write_release(
        store,
        fitted.network,
        vocabularies,
        data.movies,
        Data(
            fingerprint=data.fingerprint,
            split="random",
            users=len(data.users),
            movies=len(data.movies),
            ratings=len(data.ratings),
        ),
        training,
    )
    return Trained(
        manifest, fitted.test_rmse, beside, len(fitted.validation_rmse), fitted.seconds, fitted.interrupted
    )
