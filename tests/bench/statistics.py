"""Rates over a window, quantiles, and medians with spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

# The first quarter is warming up (a collection searched for the first time, a new transaction coordinator), and at the
# end partitions run dry one after the other.
WINDOW = (0.25, 0.95)


@dataclass(frozen=True)
class Window:
    """The part of a drain that counts: moments in seconds, and how many results fell between them."""

    begin: float
    end: float
    events: int

    @property
    def events_per_second(self) -> float:
        return self.events / (self.end - self.begin)


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some repetitions."""

    median: float
    lowest: float
    highest: float
    repetitions: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """None where there is no value."""
        if not values:
            return None
        return cls(float(np.median(values)), min(values), max(values), len(values))


def steady_window(moments: Seconds) -> Window:
    """The window between two shares of the results, by the moments at which each was written.

    Raises:
        ValueError: all were written at one moment, or there are none.
    """
    ordered = np.sort(moments)
    first, last = (min(len(ordered) - 1, int(share * len(ordered))) for share in WINDOW)
    if len(ordered) == 0 or ordered[last] <= ordered[first]:
        raise ValueError("too few results for a rate")
    return Window(float(ordered[first]), float(ordered[last]), last - first)


def between(samples: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """How much a growing counter, sampled as (moment, value), grew between two moments, by linear interpolation."""
    at, values = zip(*samples, strict=True)
    first, last = np.interp([begin, end], at, values)
    return float(last - first)


def quantile_ms(seconds: Seconds, share: float) -> float | None:
    """The latency that this share stayed at or below, in milliseconds; None where nothing was measured."""
    return float(np.quantile(seconds, share, method="higher") * 1_000) if len(seconds) else None


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Repetition by repetition, so that what disturbed both cancels out."""
    return [a / b for a, b in zip(over, under, strict=False) if b > 0]
