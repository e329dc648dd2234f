"""How sure a mean is: the bootstrap over users (Efron, 1979)."""

import numpy as np
from numpy.typing import NDArray

from schemas.evaluation import Figure

RESAMPLES = 1_000
_LOW, _HIGH = 2.5, 97.5  # percentiles: 95 % between them
_SEED = 0


def mean_figure(values: NDArray[np.float64]) -> Figure:
    """The mean of a value for each of n users, [n], and the interval of that mean."""
    users = len(values)
    counts = np.random.default_rng(_SEED).multinomial(users, np.full(users, 1.0 / users), size=RESAMPLES)
    low, high = np.percentile(counts @ values / users, [_LOW, _HIGH])
    return Figure(value=float(values.mean()), low=float(low), high=float(high), users=users)
