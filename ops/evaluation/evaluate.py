"""Evaluating a release: itself on what it was not trained on, or one of the same configuration, trained for it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ops.evaluation.folds import with_all_folds
from ops.evaluation.page import page
from ops.evaluation.protocols import Measurement, prefix
from ops.evaluation.recommend import Recommender
from ops.evaluation.stars import stars_protocol
from ops.training.fit import Hyperparameters
from ops.training.holdout import hold_out
from ops.training.loop import Progress
from ops.training.next_movie import SequenceHyperparameters
from ops.training.train import RANDOM, Resuming, Source, train_fusion, train_sequence
from schemas.errors import MarqueeError
from schemas.manifest import Evaluation, EvaluationResult, Manifest, Protocol
from worker.release.release import Release
from worker.release.store import ReleaseStore

# The figures of a split that decide whether a release may take over; the others are for people.
HEADLINES = ("ndcg@10", "hr@10", "recall@10", "rmse")
LOWER_IS_BETTER = ("rmse",)


class EvaluationError(MarqueeError):
    """A release cannot be evaluated so."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluates releases of a store on one split of the data."""

    store: ReleaseStore
    source: Source
    resuming: Resuming
    report: Callable[[Progress], None] = lambda _: None
    interrupted: Callable[[], bool] = lambda: False

    def evaluate(self, release: str) -> Evaluation:
        """Measure, and keep what was found beside what is known of the release from other splits.

        Raises:
            EvaluationError: the release was trained on other data, or its training was interrupted.
            ReleaseError: it cannot be loaded.
        """
        manifest = self.store.manifest(release)
        if manifest.data.fingerprint != self.source.data.fingerprint:
            raise EvaluationError(
                f"release {release} was trained on other data than {self.source.folder} holds: give --data its folder"
            )
        measured = self._of_this_split(manifest)
        protocol = self._protocol(self.store.load(measured.release))
        for name in dict.fromkeys((measured.release, release)):
            evaluation = with_protocol(self._known(name), protocol, self.source)
            self.store.write_evaluation(name, evaluation.model_dump(mode="json"), page(evaluation))
        return evaluation

    def _known(self, release: str) -> Evaluation:
        kept = self.store.evaluation(release)
        return Evaluation.model_validate(kept) if kept else Evaluation(release=release, results=[])

    def _of_this_split(self, manifest: Manifest) -> Manifest:
        """The release itself, or its like that was trained on this split, which is trained if there is none yet."""
        if self._fits(manifest):
            return manifest
        for name in reversed(self.store.names()):
            other = self.store.manifest(name)
            if other.training.get("like") == manifest.release and self._fits(other):
                return other
        return self._train_alike(manifest)

    def _fits(self, manifest: Manifest) -> bool:
        return (
            manifest.data.split == self.source.split
            and manifest.data.fingerprint == self.source.data.fingerprint
            and manifest.training.get("fold", 0) == self.source.fold
        )

    def _train_alike(self, manifest: Manifest) -> Manifest:
        doing: dict[str, Any] = {
            "resuming": self.resuming,
            "more": {"like": manifest.release},
            "report": self.report,
            "interrupted": self.interrupted,
        }
        if manifest.model == "fusion":
            hyper = _configuration(Hyperparameters, manifest)
            trained = train_fusion(self.source.data, self.store, hyper, source=self.source, **doing)
        else:
            wanted = _configuration(SequenceHyperparameters, manifest)
            trained = train_sequence(self.source, self.store, wanted, **doing)
        if trained.interrupted:
            raise EvaluationError(
                f"the training was interrupted, so release {trained.manifest.release} is not like {manifest.release}: "
                "run the command again"
            )
        return trained.manifest

    def _protocol(self, release: Release) -> Protocol:
        manifest, data = release.manifest, self.source.data
        seed = int(manifest.training.get("seed", 0))
        if self.source.split == RANDOM:
            if manifest.stars is None:
                raise EvaluationError(
                    f"release {manifest.release} predicts no stars: evaluate it on another split"
                )
            recommender = Recommender(release, data)
            return stars_protocol(data, recommender, manifest.stars, trained=manifest.release, seed=seed)
        holdout = hold_out(data, self.source.folder, self.source.split, self.source.fold)
        if not holdout.test:
            raise EvaluationError(
                f"the split {self.source.split} holds nothing out to measure on: name another with --split"
            )
        return Measurement(data, holdout, Recommender(release, data)).protocol(manifest.release, seed)


def _configuration(kind: type[Any], manifest: Manifest) -> Any:
    """The hyper-parameters that a manifest keeps."""
    kept = manifest.training
    return kind(**{field.name: kept[field.name] for field in fields(kind) if field.name in kept})


def split_name(source: Source, origin: str) -> str:
    """A split as it is compared: one that was derived is another than the one from the file, as one fold than the next."""
    name = f"{source.split}, fold {source.fold}" if source.split == "users" else source.split
    return f"{name} (derived)" if origin.startswith("derived") else name


def with_protocol(evaluation: Evaluation, protocol: Protocol, source: Source) -> Evaluation:
    """The evaluation with what this protocol found, in place of what it had found before."""
    name = split_name(source, protocol.origin)
    begin = prefix(protocol.split)
    found = [
        EvaluationResult(
            metric=metric,
            split=name,
            data=protocol.data,
            value=protocol.figures[f"{begin}.{metric}"].value,
            higher_is_better=metric not in LOWER_IS_BETTER,
        )
        for metric in HEADLINES
        if f"{begin}.{metric}" in protocol.figures
    ]
    measures = {result.measures for result in found}
    others = [result for result in evaluation.results if result.measures not in measures]
    return with_all_folds(
        Evaluation(
            release=evaluation.release,
            results=others + found,
            protocols=evaluation.protocols | {name: protocol},
        )
    )
