"""The plan of a run: rounds in which all contenders take turns, so that a busy moment of the machine hits all of them, and growth curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.bench.contenders import EXACT, MARQUEE, Contender, marquee
from tests.bench.measurement import Pace

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


PARTITIONS = (1, 2, 4, 8, 12)
WORKERS = (1, 2, 3)
MOVIES = (4_000, 16_000, 64_000, 250_000, 1_000_000)
BATCHES = (1, 4, 16, 64, 256, 1_024, 4_096)
HISTORIES = (0, 10, 50, 100, 200)
CURVES = ("partitions", "workers", "catalogue", "batch", "history")

# The product of more does not fit in a batch's time.
_EXACT_MOVIES = 64_000
_CATALOGUE_OF_MAIN = 4_000
# Fewer events are two full batches, which are written at once and give no rate.
_LEAST = 3_000.0


@dataclass(frozen=True)
class Step:
    """One point of a curve with its differences; `expected` events/s keep a drain within seconds."""

    curve: str
    x: int
    contender: Contender
    expected: float
    partitions: int = 12
    workers: int = 1
    movies: int | None = None
    history: int | None = None


def steps_of(curve: str, most_movies: int = MOVIES[-1]) -> Iterator[Step]:
    """The points of a curve, in order; of catalogues up to `most_movies`."""
    for x in {
        "partitions": PARTITIONS,
        "workers": WORKERS,
        "catalogue": tuple(movies for movies in MOVIES if movies <= most_movies),
        "batch": BATCHES,
        "history": HISTORIES,
    }[curve]:
        match curve:
            case "partitions":
                yield Step(curve, x, MARQUEE, MARQUEE.expected, partitions=x)
            case "workers":
                yield Step(curve, x, MARQUEE, MARQUEE.expected, workers=x)
            case "batch":
                sized = marquee(
                    f"milvus-{x}",
                    f"Marquee, Milvus, batches of {x}",
                    1,
                    variables={"MARQUEE_WORKER__BATCH_EVENTS": str(x)},
                )
                yield Step(curve, x, sized, min(MARQUEE.expected, 250 * x))
            case "history":
                yield Step(curve, x, MARQUEE, max(_LEAST, MARQUEE.expected / (1 + x / 10)), history=x)
            case "catalogue":
                share = _CATALOGUE_OF_MAIN / x
                yield Step(curve, x, MARQUEE, max(_LEAST, MARQUEE.expected * share), movies=x)
                if x <= _EXACT_MOVIES:
                    yield Step(curve, x, EXACT, max(_LEAST, EXACT.expected * share), movies=x)
