"""What diverse lists cost: `python -m ops.diversity_cost`, for docs/numbers.md. CPU time of one thread, the least of several turns."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import typer
from threadpoolctl import threadpool_limits

from schemas.profile import Filter
from worker.retrieval.diversity import POOL, Diversity
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Hide
from worker.retrieval.lists import Lists, Wish

_QUERIES, _TURNS = 1_024, 7


def main(
    movies: Annotated[int, typer.Option(min=POOL)] = 3_883,
    dimension: Annotated[int, typer.Option(min=2)] = 64,
) -> None:
    """For several lengths of lists: µs an event of exact search, of exact search for the pool, and of choosing from it."""
    rng, diversity = np.random.default_rng(0), Diversity(0.3)
    vectors, queries = (rng.standard_normal((n, dimension)).astype(np.float32) for n in (movies, _QUERIES))
    index = ExactIndex(np.arange(1, movies + 1), vectors)

    def best(wishes: list[Wish]) -> Lists:
        return index.best(queries, wishes, scale=1.0, asked=_nobody_asks)

    typer.echo("k  plain  pool  choosing")
    with threadpool_limits(1):
        for k in (5, 10, 20):
            wishes = [Wish(k)] * _QUERIES
            wide = diversity.pools(wishes)
            pools = best(wide)
            steps = (
                lambda wishes=wishes: best(wishes),
                lambda wide=wide: best(wide),
                lambda wishes=wishes, pools=pools: diversity.choose(pools, wishes, index),
            )
            typer.echo(f"{k}  {'  '.join(f'{_microseconds(step):.1f}' for step in steps)}")


def _nobody_asks(_: Sequence[Filter]) -> Hide:
    raise NotImplementedError


def _microseconds(step: Callable[[], Lists]) -> float:
    """The least CPU time an event."""
    took = []
    for _ in range(_TURNS):
        began = time.process_time()
        step()
        took.append(time.process_time() - began)
    return min(took) / _QUERIES * 1e6


if __name__ == "__main__":
    typer.run(main)
