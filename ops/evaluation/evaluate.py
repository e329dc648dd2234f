"""Evaluates a release on held-out data: itself, or a release of its configuration that is trained on the split."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ops.evaluation.holdout import FOLDS, Source, hold_out
from ops.evaluation.page import page
from ops.evaluation.protocols import Measurement, prefix
from ops.evaluation.recommend import Recommender
from ops.evaluation.stars import RANDOM, stars_protocol
from schemas.errors import MarqueeError
from schemas.manifest import Evaluation, EvaluationResult, Figure, Manifest, Protocol
from worker.release.release import Release
from worker.release.store import ReleaseStore

# The figures of a split that decide whether a release may take over; the others are for people.
HEADLINES = ("ndcg@10", "hr@10", "recall@10", "rmse")
LOWER_IS_BETTER = ("rmse",)


class EvaluationError(MarqueeError):
    """A release cannot be evaluated on this split or data."""


@dataclass(frozen=True)
class Evaluator:
    """Evaluates releases of a store on one split of the data."""

    store: ReleaseStore
    source: Source
    train_alike: Callable[[Manifest], Manifest]
    """Trains a release of the same configuration on the split."""

    def evaluate(self, release: str) -> Evaluation:
        """Measure, and keep the figures beside those of other splits.

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
        """The release itself, or one of its configuration that was trained on this split; the first time it is trained."""
        if self._fits(manifest):
            return manifest
        for name in reversed(self.store.names()):
            other = self.store.manifest(name)
            if other.training.get("like") == manifest.release and self._fits(other):
                return other
        return self.train_alike(manifest)

    def _fits(self, manifest: Manifest) -> bool:
        return (
            manifest.data.split == self.source.split
            and manifest.data.fingerprint == self.source.data.fingerprint
            and manifest.training.get("fold", 0) == self.source.fold
        )

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


def split_name(source: Source, origin: str) -> str:
    """A split as it is compared: one that was derived is another than the one from the file, as one fold than the next."""
    name = f"{source.split}, fold {source.fold}" if source.split == "users" else source.split
    return f"{name} (derived)" if origin.startswith("derived") else name


def with_protocol(evaluation: Evaluation, protocol: Protocol, source: Source) -> Evaluation:
    """The evaluation with the figures of this protocol, in place of its earlier ones."""
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


Figures = dict[str, Figure]

ALL_FOLDS = "users, all folds"


def of_all_folds(protocols: dict[str, Protocol]) -> Protocol | None:
    """The users split as a whole; None before each fold was measured."""
    parts = [protocols.get(f"users, fold {fold}") for fold in range(FOLDS)]
    known = [part for part in parts if part is not None]
    if len(known) < FOLDS:
        return None
    return Protocol(
        split="users",
        origin=f"{FOLDS} folds, a model each",
        data=known[0].data,
        trained=", ".join(part.trained for part in known),
        seed=known[0].seed,
        figures=_together(part.figures for part in known),
        baselines={name: _together(part.baselines[name] for part in known) for name in known[0].baselines},
        differences={
            name: _together(part.differences[name] for part in known) for name in known[0].differences
        },
    )


def with_all_folds(evaluation: Evaluation) -> Evaluation:
    """The evaluation with what its folds say together, once there are all of them."""
    whole = of_all_folds(evaluation.protocols)
    if whole is None:
        return evaluation
    return evaluation.model_copy(update={"protocols": evaluation.protocols | {ALL_FOLDS: whole}})


def _together(of_folds: Iterable[Figures]) -> Figures:
    """Figures that are means over people, and that each fold has."""
    each = list(of_folds)
    return {
        name: _mean([figures[name] for figures in each])
        for name, figure in each[0].items()
        if figure.low is not None and all(name in figures for figures in each)
    }


def _mean(parts: list[Figure]) -> Figure:
    """The mean over all users; their errors are independent and add up by their squares."""
    users = sum(part.users for part in parts)
    value = sum(part.value * part.users for part in parts) / users
    below = math.hypot(*((part.value - (part.low or 0.0)) * part.users / users for part in parts))
    above = math.hypot(*(((part.high or 0.0) - part.value) * part.users / users for part in parts))
    return Figure(value=value, low=value - below, high=value + above, users=users)
