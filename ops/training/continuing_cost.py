"""What training that goes on saves: `python -m ops.training.continuing_cost`, for docs/numbers.md.

A release is trained on the older part of the ratings. Then all of them are learnt twice, from nothing and from that release, as
`marquee train` and `marquee train --from` do, and both are measured on the same people.
"""

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from ops.data.generate import Sizes, generate
from ops.data.movielens import MovieLens, load
from ops.evaluation.intervals import mean_figure
from ops.evaluation.measure import ndcg_of_lists
from ops.evaluation.recommend import Recommender
from ops.evaluation.stars import predicted_stars
from ops.training.continuing import Start, start_from
from ops.training.fit import Hyperparameters, use_threads
from ops.training.holdout import hold_out
from ops.training.next_movie import hyperparameters_for
from ops.training.train import Source, train_fusion, train_sequence
from worker.release.release import Release
from worker.release.store import ReleaseStore

Floats = NDArray[np.float64]

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
    """Print, as JSON: what both trainings reach on everybody's last two movies and take, and how sure the difference is (95 %)."""
    use_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data = Path(folder, "data")
            generate(data, seed, Sizes())
        whole, store = load(data), ReleaseStore(str(Path(folder, "store")))
        before = older_part(whole, older)
        first, _ = _train(model, before, store, seed)
        start = start_from(store, first["release"], model)
        fresh, ours = _train(model, whole, store, seed)
        further, theirs = _train(model, start.with_movies_of(whole), store, seed, start)
    apart = mean_figure(theirs - ours)
    shown = {
        "model": model,
        "measured": "squared error of stars" if model == "fusion" else "ndcg@10",
        "ratings": len(whole.ratings),
        "new_ratings": len(whole.ratings) - len(before.ratings),
        "new_users": len(np.unique(whole.ratings.users)) - len(np.unique(before.ratings.users)),
        "new_movies": len(whole.movies) - len(before.movies),
        "older_part": {name: first[name] for name in ("epochs", "seconds", "cpu_seconds")},
        "from_nothing": fresh | {"quality": round(float(ours.mean()), 4)},
        "going_on": further | {"quality": round(float(theirs.mean()), 4)},
        "difference": [apart.value, apart.low, apart.high],
        "cpu_ratio": round(further["cpu_seconds"] / fresh["cpu_seconds"], 3),
    }
    typer.echo(json.dumps(shown, indent=2))


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
) -> tuple[dict[str, Any], Floats]:
    """How long a training took, and what it reached; other work on the machine does not add to its CPU seconds."""
    hyper: Any = Hyperparameters() if model == "fusion" else hyperparameters_for(len(data.ratings))
    hyper = replace(start.suited(hyper) if start else hyper, seed=seed)
    source = Source(data, Path(), _SPLIT)
    began = time.process_time()
    if model == "fusion":
        trained = train_fusion(data, store, hyper, source=source, start=start)
    else:
        trained = train_sequence(source, store, hyper, start=start)
    took = {
        "release": trained.manifest.release,
        "cpu_seconds": round(time.process_time() - began, 1),
        "seconds": round(trained.seconds, 1),
        "epochs": trained.epochs,
    }
    return took, _measured(store.load(trained.manifest.release), data)


def _measured(release: Release, data: MovieLens) -> Floats:
    """NDCG@10, or the squared errors in stars, of the last two movies of everybody, which no training here learnt from."""
    holdout, recommender = hold_out(data, Path(), _SPLIT), Recommender(release, data)
    if release.manifest.stars is None:
        asked = (holdout.test, holdout.validation)
        return np.concatenate([ndcg_of_lists(recommender.lists(cases), cases) for cases in asked])
    last = data.ratings.take(np.setdiff1d(np.arange(len(data.ratings)), holdout.train))
    errors: Floats = predicted_stars(recommender, release.manifest.stars, last, len(data.users)) - last.stars
    return errors**2


if __name__ == "__main__":
    typer.run(main)
