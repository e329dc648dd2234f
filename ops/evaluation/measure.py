"""Rankings of cases, measured: what training looks at after an epoch, and evaluation at the end."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ops.evaluation import metrics
from ops.training.holdout import Case

# Cases scored at a time: 4,000 movies for each are 16 MB.
AT_A_TIME = 1_000

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]


def lists_of_ranking(ranking: Callable[[list[Case]], Scores], cases: list[Case]) -> Rows:
    """The first 10 movies of each case, [n, 10], without what it has seen."""
    return np.concatenate(
        [metrics.top(ranking(part), [case.seen for case in part]) for part in _parts(cases)]
    )


def ndcg_of_lists(lists: Rows, cases: list[Case]) -> NDArray[np.float64]:
    """NDCG@10 of each case, [n]."""
    found = metrics.hits(lists, [case.wanted for case in cases])
    return metrics.ndcg(found, np.array([len(case.wanted) for case in cases]))


def ndcg_of_ranking(ranking: Callable[[list[Case]], Scores], cases: list[Case]) -> float:
    """Mean NDCG@10."""
    return float(ndcg_of_lists(lists_of_ranking(ranking, cases), cases).mean())


def _parts(cases: list[Case]) -> Iterator[list[Case]]:
    return (cases[start : start + AT_A_TIME] for start in range(0, len(cases), AT_A_TIME))
