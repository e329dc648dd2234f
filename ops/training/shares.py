"""How much each part of the sequence model's vectors counts: by NDCG@10 on the validation part."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ops.evaluation import metrics
from ops.evaluation.measure import ndcg_of_lists
from ops.training.holdout import Case
from ops.training.sequence import FIRST_SHARES, SHARES_FROM

Scores = NDArray[np.float32]
Shares = tuple[float, float, float, float]

# Of `later` beside `next`, then of `liked` beside both, then of `kin`. `next` has nothing to go by where there is no history.
LATER_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
LIKED_SHARES = (0.0, 0.1, 0.2, 0.4)
LIKED_ALONE_SHARES = (0.0, 0.5, 1.0)
KIN_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)
# Histories of fewer movies get as much of `kin` as costs no more than a standard error (Hastie et al., "The elements of statistical
# learning", 2009, 7.10): who has told so little judges a list by what it looks like. Longer ones are not helped by it, and have none (docs/quality.md).
KIN_BELOW = 5
# How many of the last movies stand for the shorter histories: one, and what is between two and four.
SHORTER = (1, 3)


def shortened(cases: list[Case]) -> list[Case]:
    """Those who have more movies once more for each of `SHORTER`, with as many of the last alone."""
    return [case.last(length) for length in SHORTER for case in cases if len(case.recent) > length]


def best_shares(parts: list[Scores], cases: list[Case]) -> tuple[list[list[float]], NDArray[np.float64]]:
    """The shares [4, 4] by the length of a history (`SHARES_FROM`), and the NDCG@10 of each case with them, [n].

    `parts` are the scores of each part, [n, movies]. Of shares that are as good the first is taken; of `kin`,
    in histories of fewer than `KIN_BELOW` movies, the most that costs no more than a standard error.
    """
    rows = np.searchsorted(SHARES_FROM, [len(case.recent) for case in cases], side="right") - 1
    shares, figures = [list(row) for row in FIRST_SHARES], np.zeros(len(cases))
    for row in range(len(shares)):
        places = np.flatnonzero(rows == row)
        if len(places):
            theirs = [scores[places] for scores in parts]
            best, figures[places] = _best(theirs, [cases[place] for place in places], SHARES_FROM[row])
            shares[row] = list(best)
    return shares, figures


def _best(parts: list[Scores], cases: list[Case], movies: int) -> tuple[Shares, NDArray[np.float64]]:
    """Of who has this many movies or more: one part after another, each beside those before it."""
    if not movies:
        return _first_best(
            parts, cases, [(0.0, 1.0 - liked, liked, 0.0) for liked in LIKED_ALONE_SHARES[::-1]]
        )
    (following, later, *_), _ = _first_best(
        parts, cases, [(1.0 - share, share, 0.0, 0.0) for share in LATER_SHARES]
    )
    best = _first_best(parts, cases, [(following, later, share, 0.0) for share in LIKED_SHARES])
    if movies >= KIN_BELOW:
        return best
    return _last_good(parts, cases, [(*best[0][:3], share) for share in KIN_SHARES])


def _first_best(
    parts: list[Scores], cases: list[Case], among: Sequence[Shares]
) -> tuple[Shares, NDArray[np.float64]]:
    tried = [(shares, _ndcg(parts, cases, shares)) for shares in among]
    return max(tried, key=lambda one: float(one[1].mean()))


def _last_good(
    parts: list[Scores], cases: list[Case], among: Sequence[Shares]
) -> tuple[Shares, NDArray[np.float64]]:
    """The last that is within a standard error of the best."""
    tried = [(shares, _ndcg(parts, cases, shares)) for shares in among]
    best = max((figures for _, figures in tried), key=lambda figures: float(figures.mean()))
    enough = best.mean() - best.std() / np.sqrt(len(best))
    return next(one for one in reversed(tried) if one[1].mean() >= enough)


def _ndcg(parts: list[Scores], cases: list[Case], shares: Shares) -> NDArray[np.float64]:
    scores = sum(part * np.float32(share) for part, share in zip(parts, shares, strict=True) if share)
    return ndcg_of_lists(metrics.top(np.asarray(scores), [case.seen for case in cases]), cases)
