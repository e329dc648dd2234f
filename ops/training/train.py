"""Training from a folder of data to a release in the store."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ops.data.movielens import MovieLens
from ops.evaluation import baselines as rankings
from ops.evaluation.baselines import baselines
from ops.evaluation.evaluate import EvaluationError
from ops.evaluation.holdout import Holdout, Source, hold_out
from ops.evaluation.metrics import ndcg_of_ranking
from ops.evaluation.stars import RANDOM, Split, random_split, split_of
from ops.training.continuing import Start
from ops.training.devices import agreed
from ops.training.export import write_release
from ops.training.fusion import fit
from ops.training.hyperparameters import Hyperparameters, SequenceHyperparameters
from ops.training.loop import Checkpoints, Outcome, Progress, run
from ops.training.next_movie import HEAD_WEIGHTS, NextMovie
from schemas.manifest import Manifest
from worker.release.catalogue import Catalogue
from worker.release.features import Features, Vocabularies
from worker.release.store import ReleaseStore

Model = Literal["fusion", "sequence"]


@dataclass(frozen=True)
class Resuming:
    """Where checkpoints are kept, and whether to go on from one."""

    folder: Path
    resume: bool = False
    start: str | None = None  # the release that the training goes on from

    def checkpoints(self, model: Model, source: Source, hyper: Any) -> Checkpoints:
        """Those of one configuration."""
        configuration = {
            "model": model,
            "data": source.data.fingerprint,
            "split": source.split,
            "fold": source.fold,
            "hyper": asdict(hyper),
        }
        if self.start is not None:
            configuration["from"] = self.start
        self.folder.mkdir(parents=True, exist_ok=True)
        return Checkpoints(self.folder, configuration, resume=self.resume)


@dataclass(frozen=True)
class Trained:
    """A release and its figures on the held-out part."""

    manifest: Manifest
    metric: str  # rmse (stars) or ndcg@10
    figure: float
    baselines: dict[str, float]  # of the same metric on the same
    epochs: int
    seconds: float
    interrupted: bool


@dataclass(frozen=True)
class FittedSequence:
    """A trained sequence model and its training data."""

    course: NextMovie
    outcome: Outcome
    holdout: Holdout
    vocabularies: Vocabularies


def fit_sequence(
    source: Source,
    hyper: SequenceHyperparameters,
    *,
    start: Start | None = None,
    checkpoints: Checkpoints | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> FittedSequence:
    """Train the sequence model; on each of several devices, where they train together.

    Raises:
        TrainingError: the weights ran away.
        DataError: the data is too small for the split.
    """
    data = source.data
    holdout = hold_out(data, source.folder, source.split, source.fold)
    learnt = np.unique(data.ratings.users[holdout.train])
    vocabularies = _vocabularies(start, data.users.ids[learnt].tolist(), data.movies)
    course = NextMovie(data, holdout, Features(vocabularies), hyper, start.weights if start else None)
    outcome = run(
        course,
        # Validation cannot see the gain of later epochs where no case has a history.
        hyper.epochs if any(len(case.recent) for case in holdout.validation) else 1,
        hyper.patience,
        checkpoints=checkpoints,
        report=report,
        interrupted=lambda: bool(agreed(float(interrupted()))),
    )
    return FittedSequence(course, outcome, holdout, vocabularies)


def train_sequence(
    source: Source,
    store: ReleaseStore,
    hyper: SequenceHyperparameters,
    *,
    start: Start | None = None,
    resuming: Resuming | None = None,
    more: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train the sequence model and write the release; `more` is kept in its manifest beside the hyper-parameters.

    Its figure is that of the validation part, which chose the epoch: `marquee evaluate` has the test's.

    Raises:
        TrainingError, DataError: as `fit_sequence`.
    """
    store.create()  # rather than fail after the training
    checkpoints = resuming.checkpoints("sequence", source, hyper) if resuming else None
    fitted = fit_sequence(
        source, hyper, start=start, checkpoints=checkpoints, report=report, interrupted=interrupted
    )
    outcome, holdout = fitted.outcome, fitted.holdout
    figure = 1.0 - min(outcome.measured)
    beside = _popularity(source.data, holdout)
    training = asdict(hyper) | {
        "fold": source.fold,
        "split_from": holdout.origin,
        "epochs_run": len(outcome.measured),
        "interrupted": outcome.interrupted,
        "validation_ndcg@10": {"sequence": figure} | beside,
        "seconds": round(outcome.seconds, 1),
        "shares": outcome.weights[HEAD_WEIGHTS].round(3).tolist(),
    }
    manifest = write_release(
        store,
        "sequence",
        fitted.course.serve(outcome.weights),
        fitted.vocabularies,
        source.data.movies,
        source.described(),
        training | _continued(start) | (more or {}),
    )
    if checkpoints:
        checkpoints.remove()
    return Trained(
        manifest, "ndcg@10", figure, beside, len(outcome.measured), outcome.seconds, outcome.interrupted
    )


def _popularity(data: MovieLens, holdout: Holdout) -> dict[str, float]:
    """NDCG@10 of the simplest rankings on the validation part."""
    learnt = data.ratings.take(holdout.train)
    return {
        name: ndcg_of_ranking(ranking(data, learnt), holdout.validation)
        for name, ranking in (
            ("popularity", rankings.popularity),
            ("popularity, gender x age", rankings.popularity_among_alike),
        )
    }


def train_fusion(
    data: MovieLens,
    store: ReleaseStore,
    hyper: Hyperparameters,
    *,
    source: Source | None = None,
    start: Start | None = None,
    resuming: Resuming | None = None,
    more: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Trained:
    """Fit the fusion model, write the release, and compare it with the baselines on the same held-out ratings.

    The baselines are fitted on everything that is not held out, the ratings that choose the weights among it. Without a
    `source` that says otherwise the split is the random one.
    """
    store.create()  # rather than fail after the training
    source = source or Source(data, Path(), RANDOM)
    split = _ratings_split(source, hyper.seed)
    learnt = np.unique(split.not_test.users)
    vocabularies = _vocabularies(start, data.users.ids[learnt].tolist(), data.movies)
    fitted = fit(
        data,
        split,
        Features(vocabularies),
        hyper,
        start=start.weights if start else None,
        checkpoints=(checkpoints := resuming.checkpoints("fusion", source, hyper) if resuming else None),
        report=report,
        interrupted=interrupted,
    )
    held, validation = split.test, min(fitted.validation_rmse)
    beside = baselines(
        split.not_test if len(held) else split.train,
        held if len(held) else split.validation,
        len(data.users),
        len(data.movies),
    )
    reached = {"validation": validation} | ({} if fitted.test_rmse is None else {"test": fitted.test_rmse})
    training = asdict(hyper) | {
        "fold": source.fold,
        "epochs_run": len(fitted.validation_rmse),
        "interrupted": fitted.interrupted,
        "rmse_stars": reached | beside,
        "seconds": round(fitted.seconds, 1),
    }
    manifest = write_release(
        store,
        "fusion",
        fitted.network,
        vocabularies,
        data.movies,
        source.described(),
        training | _continued(start) | (more or {}),
    )
    if checkpoints:
        checkpoints.remove()
    figure = validation if fitted.test_rmse is None else fitted.test_rmse
    return Trained(
        manifest, "rmse", figure, beside, len(fitted.validation_rmse), fitted.seconds, fitted.interrupted
    )


def train_alike(
    manifest: Manifest,
    source: Source,
    store: ReleaseStore,
    *,
    resuming: Resuming,
    report: Callable[[Progress], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Train a release of the same configuration on another split, for its evaluation.

    Raises:
        EvaluationError: the training was interrupted.
        TrainingError, DataError: as `fit_sequence`.
    """
    doing: dict[str, Any] = {
        "source": source,
        "store": store,
        "resuming": resuming,
        "more": {"like": manifest.release},
        "report": report,
        "interrupted": interrupted,
    }
    if manifest.model == "fusion":
        trained = train_fusion(source.data, hyper=_configuration(Hyperparameters, manifest), **doing)
    else:
        trained = train_sequence(hyper=_configuration(SequenceHyperparameters, manifest), **doing)
    if trained.interrupted:
        raise EvaluationError(
            f"the training was interrupted, so release {trained.manifest.release} is not like {manifest.release}: "
            "run the command again"
        )
    return trained.manifest


def _configuration(kind: type[Any], manifest: Manifest) -> Any:
    """The hyper-parameters in a manifest."""
    kept = manifest.training
    return kind(**{field.name: kept[field.name] for field in fields(kind) if field.name in kept})


def _vocabularies(start: Start | None, users: list[int], movies: Catalogue) -> Vocabularies:
    return start.extended(users, movies) if start else Vocabularies.of(users, movies)


def _continued(start: Start | None) -> dict[str, str]:
    return {"continued_from": start.manifest.release} if start else {}


def _ratings_split(source: Source, seed: int) -> Split:
    if source.split == RANDOM:
        return random_split(source.data.ratings, seed)
    holdout = hold_out(source.data, source.folder, source.split, source.fold)
    return split_of(source.data.ratings, holdout.train, seed)
