"""Latency beside swaps and away from them: from an event's timestamp to the broker's of its result."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.faults.checker import Outcome, Sent

Span = tuple[float, float]  # seconds of the wall clock


@dataclass(frozen=True)
class Latencies:
    """Percentiles of one kind of moments, in milliseconds."""

    events: int
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms of {self.events:,} events"


def latencies(sent: Sequence[Sent], outcomes: Sequence[Outcome], spans: Sequence[Span]) -> Latencies | None:
    """Of the events that were made within the spans; None where there are none."""
    made = {event.key: event.made_at for event in sent if event.key is not None}
    starts = sorted(spans)
    found = [
        (outcome.stored_at - made[outcome.key]) * 1_000
        for outcome in outcomes
        if outcome.key in made and _within(made[outcome.key], starts)
    ]
    if not found:
        return None
    p50, p99 = np.percentile(found, (50, 99))
    return Latencies(len(found), float(p50), float(p99))


def _within(moment: float, spans: Sequence[Span]) -> bool:
    place = bisect_right(spans, (moment, float("inf"))) - 1
    return place >= 0 and moment <= spans[place][1]
