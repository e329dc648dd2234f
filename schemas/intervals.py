"""How sure a share is, and whether two differ by more than chance."""

import math
from typing import NamedTuple

Z_95 = 1.959963984540054  # of the normal distribution, two-sided


class Interval(NamedTuple):
    """A share and its 95 % interval."""

    low: float
    value: float
    high: float


def wilson(hits: int, trials: int) -> Interval:
    """The share of hits and its score interval (Wilson, "Probable inference, the law of succession", 1927).

    Without a trial nothing is known: 0 to 1.
    """
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = hits / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return Interval(max(0.0, centre - half), share, min(1.0, centre + half))


def difference(hits: int, trials: int, other_hits: int, other_trials: int) -> float:
    """How probable so great a difference of two shares is where there is none: the two-proportion z-test, two-sided.

    1.0 where either has no trial, or nothing varies.
    """
    if not trials or not other_trials:
        return 1.0
    pooled = (hits + other_hits) / (trials + other_trials)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    if deviation == 0.0:
        return 1.0
    z = (hits / trials - other_hits / other_trials) / deviation
    return math.erfc(abs(z) / math.sqrt(2))
