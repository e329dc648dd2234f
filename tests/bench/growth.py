"""How cost and speed grow: partitions, workers, catalogue, batch size, history."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.contenders import EXACT, MARQUEE, Contender, marquee

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
    """One point: what is different there. `expected` events/s, roughly, so that it takes seconds and not minutes."""

    curve: str
    x: int
    contender: Contender
    expected: float
    partitions: int = 12
    workers: int = 1
    movies: int | None = None
    history: int | None = None


def steps(curve: str, most_movies: int = MOVIES[-1]) -> Iterator[Step]:
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
