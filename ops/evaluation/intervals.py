"""How sure a mean is: the bootstrap over users (Efron, 1979)."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import Figure

RESAMPLES = 1_000
_LOW, _HIGH = 2.5, 97.5  # percentiles: 95 % between them
_SEED = 0


def mean_figure(values: NDArray[np.float64]) -> Figure:
    """The mean of a value for each of n users, [n], and the interval of that mean."""
    low, high = np.percentile(_resamples(len(values)) @ values.astype(np.float32), [_LOW, _HIGH])
    return Figure(value=float(values.mean()), low=float(low), high=float(high), users=len(values))


@lru_cache(maxsize=4)
def _resamples(users: int) -> NDArray[np.float32]:
    """The weight of each user in each resample, [RESAMPLES, users]; the same ones for the same number of users."""
    counts = np.random.default_rng(_SEED).multinomial(users, np.full(users, 1.0 / users), size=RESAMPLES)
    weights: NDArray[np.float32] = counts.astype(np.float32) / np.float32(users)
    return weights
