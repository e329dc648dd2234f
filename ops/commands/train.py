"""`marquee train`: from a folder of data to a release in the store."""

import json
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import BootstrapServers, Prefix, finite, moment, settings_with
from ops.commands.printing import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from ops.data.movielens import MovieLens
    from ops.training.continuing import Start
    from ops.training.loop import Progress
    from ops.training.train import Resuming, Trained
    from schemas.settings import Settings
    from worker.release.store import ReleaseStore


KAFKA_SECONDS = 15.0


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    data: Annotated[Path, typer.Option(help="Folder with users.dat, movies.dat and ratings.dat.")],
    store: Annotated[str | None, typer.Option(help="Where releases are kept, any fsspec URL.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="sequence: what is watched next, from history and profile. fusion: the rating model of the Milvus bootcamp."
        ),
    ] = "sequence",
    split: Annotated[
        str | None,
        typer.Option(
            help="What is held out of training: all (nothing but a little to know when to stop; the default), leave-one-out, "
            "global-time, users, cold-movies; and random, for the fusion model alone and its default."
        ),
    ] = None,
    fold: Annotated[int, typer.Option(min=0, max=4, help="Which fifth of the users; for --split users.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run of the same data and options was cut off.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RELEASE",
            help="Go on from the weights of a release: ids keep their places, new users and movies are added; a third of the "
            "epochs by default.",
        ),
    ] = None,
    feedback: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="FROM",
            help="Learn from what people watched and liked since then as well, as the topic `feedback` tells: ISO 8601, or so "
            "long ago, as 24h or 7d.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the ratings.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs that bring nothing before it stops (sequence).")
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(min=8, help="Of the vectors' part that tells the next movie (sequence).")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Ratings a step.")] = None,
    lr: Annotated[
        float | None, typer.Option(min=0.0, callback=finite, help="Adam's learning rate at its highest.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 1,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoint of every epoch; one in your cache if missing."),
    ] = None,
    then_reindex: Annotated[
        bool,
        typer.Option(
            "--then-reindex",
            help="Have it indexed, checked and activated too, and wait until a worker serves it; exit code 1 if refused.",
        ),
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name and figures as one JSON object.")
    ] = False,
) -> None:
    """Train a model and write it as a new release, whose name is printed.

    Ctrl-C ends the training early and keeps the best weights so far; a second Ctrl-C gives up. What was cut off (a
    second Ctrl-C, a machine that went away) goes on from its last whole epoch with --resume and the same options.
    Several GPUs, where there are any, share the work. `marquee releases` shows what was written; with --then-reindex
    it serves as well, and nothing is trained where Kafka cannot be reached for that.
    """
    _check(model, split)
    chosen = {
        "epochs": epochs, "patience": patience, "dimension": dimension, "batch": batch, "learning_rate": lr,
        "seed": seed,
    }  # fmt: skip
    said = {name: value for name, value in chosen.items() if value is not None}
    if model == "fusion" and {"patience", "dimension"} & said.keys():
        raise typer.BadParameter("--patience and --dimension are the sequence model's")
    heard = None
    if feedback is not None:
        settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
        heard = Feedback(settings, feedback, datetime.now(UTC))
    wish = Wish(data, store, model, split, fold, resume, start, heard, said, threads, checkpoints, as_json)
    from ops.training.devices import spawn

    if not then_reindex:
        spawn(_train, wish)
        return
    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    with reindexed(settings):
        spawn(_train, wish)


@contextmanager
def reindexed(settings: "Settings") -> "Iterator[None]":
    """Have the release that the block writes take over, once Kafka has been seen to be there: before the training.

    Raises:
        UnreachableError: Kafka cannot be reached.
        MarqueeError: the indexer refused the release, or no worker served it in time.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    from ops.deployment.indexing import index
    from worker.kafka.reader import read_releases
    from worker.release.store import ReleaseStore

    read_releases(settings, KAFKA_SECONDS)
    before = set(ReleaseStore(settings.store).names())
    yield
    written = [name for name in ReleaseStore(settings.store).names() if name not in before]
    if not written:
        return  # what was trained before was enough: it was said so
    console = Console(stderr=True)
    with Bar(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("indexing", total=1.0)
        index(settings, written[-1], report=lambda share: bar.update(task, completed=share))
    console.print(f"release {written[-1]} is active, and served")


@dataclass(frozen=True)
class Feedback:
    """Where feedback is, and of what time; the end is fixed, so that several devices learn from the same."""

    settings: "Settings"
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Wish:
    """What the command line says."""

    data: Path
    store: str | None
    model: str
    split: str | None
    fold: int
    resume: bool
    start: str | None
    feedback: "Feedback | None"
    chosen: dict[str, float]
    threads: int
    checkpoints: Path | None
    as_json: bool


def _check(model: str, split: str | None) -> None:
    splits = {
        "sequence": ("all", "leave-one-out", "global-time", "users", "cold-movies"),
        "fusion": ("random", "all", "leave-one-out", "global-time", "users", "cold-movies"),
    }
    if model not in splits:
        raise typer.BadParameter(f"{model!r} is no model: use sequence or fusion", param_hint="--model")
    if split is not None and split not in splits[model]:
        raise typer.BadParameter(
            f"{split!r} is no split of the {model} model: use {', '.join(splits[model])}",
            param_hint="--split",
        )


def _train(wish: Wish) -> None:
    """Train and tell; where several devices train together, the first alone writes and tells."""
    from rich.console import Console

    from ops.data.movielens import load
    from ops.training.devices import rank, use_threads

    console = Console(stderr=True, quiet=rank() > 0)
    data = load(wish.data)
    if wish.feedback:
        data = _with_feedback(console, data, wish.feedback)
    use_threads(wish.threads)
    with interruptible(console) as interrupted, progress(console) as report:
        train_model = _train_fusion if wish.model == "fusion" else _train_sequence
        trained = train_model(wish, data, report, interrupted)
    if trained is not None:
        _show(console, trained)
        print(_as_json(trained) if wish.as_json else trained.manifest.release)  # noqa: T201


def _with_feedback(console: "Console", data: "MovieLens", wanted: Feedback) -> "MovieLens":
    from ops.training.feedback import deeds, with_deeds

    done = deeds(wanted.settings, wanted.since, wanted.until, KAFKA_SECONDS)
    learnt = with_deeds(data, done)
    console.print(
        f"feedback: {learnt.added:,} ratings more; {learnt.left_out:,} left out, of users or movies that the data lacks or "
        "that were rated before"
    )
    return learnt.data


def _train_sequence(
    wish: Wish, data: "MovieLens", report: "Callable[[Progress], None]", interrupted: "Callable[[], bool]"
) -> "Trained | None":
    from rich.console import Console

    from ops.evaluation.holdout import Source
    from ops.training.devices import rank
    from ops.training.hyperparameters import expected_seconds, hyperparameters_for
    from ops.training.train import fit_sequence, train_sequence

    start = _start(wish)
    if start:
        data = start.with_movies_of(data)
        suited = start.suited(hyperparameters_for(len(data.ratings)))
        hyper = replace(suited, **wish.chosen)  # type: ignore[arg-type]
    else:
        hyper = hyperparameters_for(len(data.ratings), **wish.chosen)
    source = Source(data, wish.data, wish.split or "all", wish.fold)
    resuming = _resuming(wish)
    if rank() > 0:
        checkpoints = resuming.checkpoints("sequence", source, hyper)
        fit_sequence(source, hyper, start=start, checkpoints=checkpoints, interrupted=interrupted)
        return None
    expected = duration(expected_seconds(len(data.ratings), hyper))
    Console(stderr=True).print(f"{hyper.epochs} epochs take about {expected} on a free core")
    return train_sequence(
        source, _store(wish), hyper, start=start, resuming=resuming, report=report, interrupted=interrupted
    )


def _train_fusion(
    wish: Wish, data: "MovieLens", report: "Callable[[Progress], None]", interrupted: "Callable[[], bool]"
) -> "Trained | None":
    from ops.evaluation.holdout import Source
    from ops.evaluation.stars import RANDOM
    from ops.training.devices import rank
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.train import train_fusion

    if rank() > 0:
        return None  # two minutes on one core
    start, hyper = _start(wish), Hyperparameters()
    if start:
        data, hyper = start.with_movies_of(data), start.suited(hyper)
    return train_fusion(
        data,
        _store(wish),
        replace(hyper, **wish.chosen),  # type: ignore[arg-type]
        start=start,
        source=Source(data, wish.data, wish.split or RANDOM, wish.fold),
        resuming=_resuming(wish),
        report=report,
        interrupted=interrupted,
    )


def _start(wish: Wish) -> "Start | None":
    from ops.training.continuing import start_from

    return start_from(_store(wish), wish.start, wish.model) if wish.start else None


def _store(wish: Wish) -> "ReleaseStore":
    from schemas.settings import load_settings
    from worker.release.store import ReleaseStore

    return ReleaseStore(wish.store or load_settings().store)


def _resuming(wish: Wish) -> "Resuming":
    from ops.training.loop import checkpoints_folder
    from ops.training.train import Resuming

    return Resuming(wish.checkpoints or checkpoints_folder(), wish.resume, wish.start)


@contextmanager
def interruptible(console: "Console") -> "Iterator[Callable[[], bool]]":
    """The first Ctrl-C is a wish to stop, which the yielded function tells; the second interrupts."""
    wished = False

    def wish(_signum: int, _frame: object) -> None:
        nonlocal wished
        wished = True
        signal.signal(signal.SIGINT, before)
        console.print("Stopping; the release will hold the best weights so far. Ctrl-C again gives up.")

    before = signal.signal(signal.SIGINT, wish)
    try:
        yield lambda: wished
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress(console: "Console") -> "Iterator[Callable[[Progress], None]]":
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=1.0)

        told = 0

        def report(step: "Progress") -> None:
            nonlocal told
            best = step.said[step.measured.index(min(step.measured))] if step.said else ""
            bar.update(
                task,
                completed=step.share,
                description=f"epoch {step.epoch}  loss {step.loss:.3f}" + (best and f"  best so far {best}"),
            )
            if bar.disable and len(step.said) > told:
                told = len(step.said)
                console.print(f"{datetime.now(UTC):%H:%M:%S} UTC, epoch {told}: {step.said[-1]}")

        yield report


def _show(console: "Console", trained: "Trained") -> None:
    from rich.table import Table

    manifest = trained.manifest
    what = {"rmse": "RMSE in stars, held-out ratings", "ndcg@10": "NDCG@10, validation"}[trained.metric]
    table = Table(what, "", title=f"release {manifest.release}", title_justify="left")
    for name, figure in trained.baselines.items():
        table.add_row(name.replace("_", " "), f"{figure:.4f}")
    table.add_row(f"[bold]{manifest.model}[/bold]", f"[bold]{trained.figure:.4f}[/bold]")
    console.print(table)
    end = "interrupted after" if trained.interrupted else "trained"
    console.print(f"{end} {trained.epochs} epochs, {trained.seconds:.0f} s")


def _as_json(trained: "Trained") -> str:
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
