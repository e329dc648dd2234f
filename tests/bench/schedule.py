"""What is run when: rounds in which everybody takes a turn, so that what a machine does meanwhile hits all alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.bench.trial import Pace

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How much of it: `rounds` of everybody, then `headline_rounds` of those whose ratios are the point.

    Only the rounds of everybody have latencies. `warming` comes before all of them and is not counted; `most_movies` is
    the largest catalogue of its curve.
    """

    rounds: int
    headline_rounds: int
    pinned_rounds: int
    pace: Pace
    warming: Pace
    ceiling_seconds: float
    profile_seconds: float
    growth: bool
    most_movies: int


# Under six minutes on two quiet cores.
QUICK = Plan(
    rounds=1,
    headline_rounds=1,
    pinned_rounds=2,
    pace=Pace(3.0, slow=2.5, steady=1.0, patience=4.0),
    warming=Pace(3.0, slow=6.0, steady=2.0, patience=4.0),
    ceiling_seconds=1.5,
    profile_seconds=5.0,
    growth=False,
    most_movies=64_000,  # more have a graph, which takes Milvus minutes to build
)
FULL = Plan(
    rounds=3,
    headline_rounds=4,
    pinned_rounds=5,
    pace=Pace(8.0, slow=15.0, steady=8.0),
    warming=Pace(8.0, slow=10.0, steady=4.0),
    ceiling_seconds=4.0,
    profile_seconds=20.0,
    growth=True,
    most_movies=1_000_000,
)


def interleaved(members: Sequence[T], rounds: int) -> Iterator[tuple[int, Sequence[T]]]:
    """The order of each round: everybody once, each time somebody else first."""
    for number in range(rounds):
        first = number % len(members) if members else 0
        yield number, [*members[first:], *members[:first]]
