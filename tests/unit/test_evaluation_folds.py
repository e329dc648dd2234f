"""Five folds as one result, and what is published beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ops.data.movielens import load
from ops.evaluation.evaluate import ALL_FOLDS, of_all_folds, with_all_folds
from ops.evaluation.holdout import FOLDS, hold_out
from ops.evaluation.metrics import mean_figure
from ops.evaluation.protocols import published
from schemas.manifest import Evaluation, Figure, Protocol

NAME = "users.ndcg@10"


def fold(values: np.ndarray) -> Protocol:
    """A fold on whose people this was measured, and the half of it for popularity."""
    return Protocol(
        split="users",
        origin="",
        data="d",
        trained="r",
        seed=0,
        figures={NAME: mean_figure(values), "users.gini": Figure(value=0.5, users=len(values))},
        baselines={"popularity": {NAME: mean_figure(values / 2)}},
        differences={"popularity": {NAME: mean_figure(values - values / 2)}},
    )


def test_all_folds_are_everybody_with_the_interval_of_everybody() -> None:
    parts = [np.random.default_rng(number).normal(0.4, 0.3, 900 + number) for number in range(FOLDS)]
    protocols = {f"users, fold {number}": fold(values) for number, values in enumerate(parts)}

    whole = of_all_folds(protocols)

    everybody = np.concatenate(parts)
    expected = mean_figure(everybody)
    assert whole is not None
    found = whole.figures[NAME]
    assert found.users == len(everybody)
    assert found.value == pytest.approx(everybody.mean())
    assert found.low == pytest.approx(expected.low, abs=2e-3)
    assert found.high == pytest.approx(expected.high, abs=2e-3)
    assert whole.differences["popularity"][NAME].value == pytest.approx(everybody.mean() / 2)
    assert set(whole.figures) == {NAME}  # how evenly five models recommend is no mean of theirs


def test_nothing_is_said_of_all_folds_before_the_last() -> None:
    protocols = {f"users, fold {number}": fold(np.ones(9)) for number in range(FOLDS - 1)}
    evaluation = Evaluation(release="r", results=[], protocols=protocols)

    assert of_all_folds(protocols) is None
    assert ALL_FOLDS not in with_all_folds(evaluation).protocols


def test_published_figures_stand_beside_ml_1m_alone(generated_data: Path) -> None:
    data = load(generated_data)
    holdout = replace(hold_out(data, generated_data, "leave-one-out"), origin="leave_one_out.txt")

    assert published(data, holdout) == {}
