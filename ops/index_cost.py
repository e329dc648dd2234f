"""What a search costs by the size of the catalogue: `OPENBLAS_NUM_THREADS=1 python -m ops.index_cost`, for docs/capacity.md.

Uses faiss, which comes with Milvus Lite, and the worker's own exact search; CPU time of one thread, so that what else runs
matters little.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

import faiss
import numpy as np
import typer
from numpy.typing import NDArray

from worker.retrieval.exact import ExactIndex

_QUERIES = 1_024
_LIMIT = 10
# As worker/retrieval/milvus.py asks of Milvus.
_LINKS, _BUILD, _SEARCH = 16, 200, 64
_TASTES = 200

Search = Callable[[NDArray[np.float32], int], tuple[Any, Any]]


def main(
    dimension: Annotated[int, typer.Option(min=2)] = 64,
    sizes: Annotated[list[int] | None, typer.Option("--movies")] = None,
) -> None:
    """For each number of movies: bytes a movie, CPU a query of FLAT, HNSW and the worker's exact search, and the recall of HNSW."""
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_TASTES, dimension))
    typer.echo("movies  HNSW bytes/movie  HNSW us/query  FLAT us/query  worker us/query  recall@10")
    for movies in sizes or (4_000, 20_000, 100_000):
        vectors, queries = (_vectors(rng, centres, count) for count in (movies, _QUERIES))
        flat = faiss.IndexFlatIP(dimension)
        graph = faiss.IndexHNSWFlat(dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction, graph.hnsw.efSearch = _BUILD, _SEARCH
        for index in (flat, graph):
            index.add(vectors)
        ours = ExactIndex(np.arange(movies, dtype=np.int64), vectors)
        ours.search(queries[:1], _LIMIT)  # lays the vectors out, once a release
        (_, exact), flat_us = _timed(flat.search, queries)
        (_, found), graph_us = _timed(graph.search, queries)
        _, ours_us = _timed(ours.search, queries)
        recall = np.mean([len(set(a) & set(b)) / _LIMIT for a, b in zip(exact, found, strict=True)])
        size = faiss.serialize_index(graph).nbytes / movies
        typer.echo(f"{movies}  {size:.0f}  {graph_us:.0f}  {flat_us:.0f}  {ours_us:.0f}  {recall:.3f}")


def _vectors(rng: np.random.Generator, centres: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Unit vectors float32 [count, dimension] around the centres, as movies lie around tastes."""
    drawn = centres[rng.integers(0, len(centres), count)]
    vectors = drawn + 0.7 * rng.normal(size=drawn.shape)
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _timed(search: Search, queries: NDArray[np.float32]) -> tuple[tuple[Any, Any], float]:
    """The answer, and CPU microseconds a query: the least of three."""
    least = float("inf")
    for _ in range(3):
        began = time.process_time()
        answer = search(queries, _LIMIT)
        least = min(least, time.process_time() - began)
    return answer, least / _QUERIES * 1e6


if __name__ == "__main__":
    typer.run(main)
