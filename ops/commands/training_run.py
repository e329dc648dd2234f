"""A training of `marquee train`, from its options to the printed figures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.commands.printing import duration, interruptible, training_progress
from ops.data.movielens import MovieLens, load
from ops.evaluation.holdout import Source
from ops.evaluation.stars import RANDOM
from ops.training.continuing import Start, start_from
from ops.training.devices import rank, use_threads
from ops.training.feedback import deeds, with_deeds
from ops.training.hyperparameters import Hyperparameters, expected_seconds, hyperparameters_for
from ops.training.loop import Progress, checkpoints_folder
from ops.training.train import Resuming, Trained, fit_sequence, train_fusion, train_sequence
from schemas.settings import Settings, load_settings
from worker.release.store import ReleaseStore

_KAFKA_SECONDS = 15.0


@dataclass(frozen=True)
class Feedback:
    """A period of feedback. Its end is fixed, so that several devices learn from the same records."""

    settings: Settings
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Run:
    """The options of a training."""

    data: Path
    store: str | None
    model: str
    split: str | None
    fold: int
    resume: bool
    start: str | None
    feedback: Feedback | None
    chosen: dict[str, float]
    threads: int
    checkpoints: Path | None
    as_json: bool


def train(run: Run) -> None:
    """Train and print the figures. Of several devices that train together, only the first writes and prints."""
    console = Console(stderr=True, quiet=rank() > 0)
    data = load(run.data)
    if run.feedback:
        data = _with_feedback(console, data, run.feedback)
    use_threads(run.threads)
    with interruptible(console) as interrupted, training_progress(console) as report:
        train_model = _train_fusion if run.model == "fusion" else _train_sequence
        trained = train_model(run, data, report, interrupted)
    if trained is not None:
        _show(console, trained)
        print(_as_json(trained) if run.as_json else trained.manifest.release)  # noqa: T201


def _with_feedback(console: Console, data: MovieLens, wanted: Feedback) -> MovieLens:
    done = deeds(wanted.settings, wanted.since, wanted.until, _KAFKA_SECONDS)
    learnt = with_deeds(data, done)
    console.print(
        f"feedback: {learnt.added:,} ratings more; {learnt.left_out:,} left out, because the data lacks the user or movie, or "
        "has the rating already"
    )
    return learnt.data


def _train_sequence(
    run: Run, data: MovieLens, report: Callable[[Progress], None], interrupted: Callable[[], bool]
) -> Trained | None:
    start = _start(run)
    if start:
        data = start.with_movies_of(data)
        suited = start.suited(hyperparameters_for(len(data.ratings)))
        hyper = replace(suited, **run.chosen)  # type: ignore[arg-type]
    else:
        hyper = hyperparameters_for(len(data.ratings), **run.chosen)
    source = Source(data, run.data, run.split or "all", run.fold)
    resuming = _resuming(run)
    if rank() > 0:
        checkpoints = resuming.checkpoints("sequence", source, hyper)
        fit_sequence(source, hyper, start=start, checkpoints=checkpoints, interrupted=interrupted)
        return None
    expected = duration(expected_seconds(len(data.ratings), hyper))
    Console(stderr=True).print(f"{hyper.epochs} epochs take about {expected} on a free core")
    return train_sequence(
        source, _store(run), hyper, start=start, resuming=resuming, report=report, interrupted=interrupted
    )


def _train_fusion(
    run: Run, data: MovieLens, report: Callable[[Progress], None], interrupted: Callable[[], bool]
) -> Trained | None:
    if rank() > 0:
        return None  # two minutes on one core
    start, hyper = _start(run), Hyperparameters()
    if start:
        data, hyper = start.with_movies_of(data), start.suited(hyper)
    return train_fusion(
        data,
        _store(run),
        replace(hyper, **run.chosen),  # type: ignore[arg-type]
        start=start,
        source=Source(data, run.data, run.split or RANDOM, run.fold),
        resuming=_resuming(run),
        report=report,
        interrupted=interrupted,
    )


def _start(run: Run) -> Start | None:
    return start_from(_store(run), run.start, run.model) if run.start else None


def _store(run: Run) -> ReleaseStore:
    return ReleaseStore(run.store or load_settings().store)


def _resuming(run: Run) -> Resuming:
    return Resuming(run.checkpoints or checkpoints_folder(), run.resume, run.start)


def _show(console: Console, trained: Trained) -> None:
    manifest = trained.manifest
    what = {"rmse": "RMSE in stars, held-out ratings", "ndcg@10": "NDCG@10, validation"}[trained.metric]
    table = Table(what, "", title=f"release {manifest.release}", title_justify="left")
    for name, figure in trained.baselines.items():
        table.add_row(name.replace("_", " "), f"{figure:.4f}")
    table.add_row(f"[bold]{manifest.model}[/bold]", f"[bold]{trained.figure:.4f}[/bold]")
    console.print(table)
    end = "interrupted after" if trained.interrupted else "trained"
    console.print(f"{end} {trained.epochs} epochs, {trained.seconds:.0f} s")


def _as_json(trained: Trained) -> str:
    return json.dumps(
        {
            "release": trained.manifest.release,
            trained.metric: trained.figure,
            "baselines": trained.baselines,
            "epochs": trained.epochs,
            "seconds": round(trained.seconds, 1),
            "interrupted": trained.interrupted,
        }
    )
