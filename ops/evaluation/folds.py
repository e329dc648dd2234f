"""What five folds say together: every person is in one of them, so that their means and intervals add up."""

import math
from collections.abc import Iterable

from ops.training.holdout import FOLDS
from schemas.manifest import Evaluation, Figure, Protocol

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
    """The mean over all people; errors of people who are independent add up by their squares."""
    users = sum(part.users for part in parts)
    value = sum(part.value * part.users for part in parts) / users
    below = math.hypot(*((part.value - (part.low or 0.0)) * part.users / users for part in parts))
    above = math.hypot(*(((part.high or 0.0) - part.value) * part.users / users for part in parts))
    return Figure(value=value, low=value - below, high=value + above, users=users)
