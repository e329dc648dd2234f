"""How long results took, and how long a partition had none."""

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.faults.checker import Outcome, Sent

Span = tuple[float, float]  # seconds


@dataclass(frozen=True)
class Latencies:
    """Percentiles from an event's timestamp to the broker's timestamp of its result, in milliseconds."""

    events: int
    p50: float
    p99: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.0f} ms, p99 {self.p99:.0f} ms of {self.events:,} events"


def latencies(sent: Sequence[Sent], outcomes: Sequence[Outcome], spans: Sequence[Span]) -> Latencies | None:
    """The latencies of the events made within the spans, of the wall clock; None without such an event."""
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


def longest_gap(outcomes: Sequence[Outcome], partitions: int, since: float, until: float) -> float:
    """The longest time without a result in one partition, of the times that began between two moments, in seconds."""
    newest = dict.fromkeys(range(partitions), since)
    longest = 0.0
    for outcome in outcomes:
        if outcome.at > since:
            before = newest[outcome.partition]
            if before < until:
                longest = max(longest, outcome.at - before)
            newest[outcome.partition] = outcome.at
    return max(longest, *(until - at for at in newest.values()))


class SteadyTimes:
    """The spans in which gaps count: from the work of all workers to their planned stop, on the monotonic clock."""

    def __init__(self) -> None:
        self._ended: list[Span] = []
        self._began: float | None = None

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def end(self) -> None:
        if self._began is not None:
            self._ended.append((self._began, time.monotonic()))
            self._began = None

    @property
    def spans(self) -> list[Span]:
        """The spans so far, the current one up to now."""
        return [*self._ended, *([(self._began, time.monotonic())] if self._began is not None else [])]
