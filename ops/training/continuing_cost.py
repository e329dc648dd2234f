"""What training that goes on saves: `python -m ops.training.continuing_cost`, for docs/numbers.md.

A release is trained on the older part of the ratings. Then all of them are learnt twice, from nothing and from that release, as
`marquee train` and `marquee train --from` do, and both are measured on the same people.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ops.data.generate import Sizes, generate
from ops.data.movielens import MovieLens, load
from ops.training.continuing import Start, start_from
from ops.training.fit import Hyperparameters, use_threads
from ops.training.next_movie import hyperparameters_for
from ops.training.train import Source, Trained, train_fusion, train_sequence
from worker.store import ReleaseStore

_SPLIT = "leave-one-out"


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of ml-1m's files; generated data if missing.")
    ] = None,
    model: Annotated[str, typer.Option(help="sequence or fusion.")] = "sequence",
    older: Annotated[
        float,
        typer.Option(min=0.1, max=0.99, help="Share of the ratings, by time, that the first release knows."),
    ] = 0.9,
    seed: Annotated[int, typer.Option(help="Of the trainings, and of generated data.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 1,
) -> None:
    """Print, as JSON: quality (validation, NDCG@10 or RMSE in stars) and time of both trainings, and what is new to the release."""
    use_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data = Path(folder, "data")
            generate(data, seed, Sizes())
        whole, store = load(data), ReleaseStore(str(Path(folder, "store")))
        before = older_part(whole, older)
        first, _ = _timed(lambda: _train(model, before, store, seed))
        start = start_from(store, first.manifest.release, model)
        fresh, of_fresh = _timed(lambda: _train(model, whole, store, seed))
        further, of_further = _timed(lambda: _train(model, start.with_movies_of(whole), store, seed, start))
    typer.echo(
        json.dumps(
            {
                "model": model,
                "ratings": len(whole.ratings),
                "new_ratings": len(whole.ratings) - len(before.ratings),
                "new_users": len(np.unique(whole.ratings.users)) - len(np.unique(before.ratings.users)),
                "new_movies": len(whole.movies) - len(before.movies),
                "metric": fresh.metric,
                "older_part": _figures(first),
                "from_nothing": _figures(fresh) | {"cpu_seconds": round(of_fresh, 1)},
                "going_on": _figures(further) | {"cpu_seconds": round(of_further, 1)},
                "cpu_ratio": round(of_further / of_fresh, 3),
            },
            indent=2,
        )
    )


def older_part(data: MovieLens, share: float) -> MovieLens:
    """The first ratings by time, and the movies that they are of."""
    ratings = data.ratings
    last = np.sort(ratings.timestamps)[int(share * len(ratings)) - 1]
    kept = ratings.take(ratings.timestamps <= last)
    there = np.bincount(kept.movies, minlength=len(data.movies)) > 0
    rows = np.cumsum(there) - 1
    return replace(
        data,
        movies=data.movies.take(there),
        ratings=replace(kept, movies=rows[kept.movies]),
        fingerprint=f"{data.fingerprint} up to {last}",
    )


def _train(
    model: str, data: MovieLens, store: ReleaseStore, seed: int, start: Start | None = None
) -> Trained:
    hyper: Any = Hyperparameters() if model == "fusion" else hyperparameters_for(len(data.ratings))
    hyper = replace(start.suited(hyper) if start else hyper, seed=seed)
    source = Source(data, Path(), _SPLIT)
    if model == "fusion":
        return train_fusion(data, store, hyper, source=source, start=start)
    return train_sequence(source, store, hyper, start=start)


def _timed(train: Callable[[], Trained]) -> tuple[Trained, float]:
    """What was trained, and the CPU seconds that it took, which other work on the machine does not add to."""
    began = time.process_time()
    return train(), time.process_time() - began


def _figures(trained: Trained) -> dict[str, float]:
    return {
        "quality": round(trained.figure, 4),
        "epochs": trained.epochs,
        "seconds": round(trained.seconds, 1),
    }


if __name__ == "__main__":
    typer.run(main)
