"""`marquee train`: train a model on a folder of data, and write it as a release."""

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import BootstrapServers, Prefix, finite, moment, settings_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.settings import Settings


_KAFKA_SECONDS = 15.0
_SPLITS = {
    "sequence": ("all", "leave-one-out", "global-time", "users", "cold-movies"),
    "fusion": ("random", "all", "leave-one-out", "global-time", "users", "cold-movies"),
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    data: Annotated[Path, typer.Option(help="Folder with users.dat, movies.dat and ratings.dat.")],
    store: Annotated[str | None, typer.Option(help="Folder or fsspec URL of the releases.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="sequence: predicts the next movie from history and profile. fusion: the rating model of the Milvus bootcamp."
        ),
    ] = "sequence",
    split: Annotated[
        str | None,
        typer.Option(
            help="Data that is held out: all (only a little, for early stopping; the default), leave-one-out, global-time, "
            "users, cold-movies; and random, the default of the fusion model and for it alone."
        ),
    ] = None,
    fold: Annotated[int, typer.Option(min=0, max=4, help="Fifth of the users; for --split users.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run of the same data and options.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RELEASE",
            help="Start from the weights of a release: ids keep their places, new users and movies are added; by default a "
            "third of the epochs.",
        ),
    ] = None,
    feedback: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="FROM",
            help="Also learn from movies that users watched and liked since then, by the topic `feedback`: ISO 8601, or ago, "
            "as 24h or 7d.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the ratings.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without progress before it stops (sequence).")
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(min=8, help="Dimension of the head that predicts the next movie (sequence).")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Ratings a step.")] = None,
    lr: Annotated[
        float | None, typer.Option(min=0.0, callback=finite, help="Highest learning rate of Adam.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses every core.")] = 1,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Folder of the checkpoints, one an epoch. By default in your cache."),
    ] = None,
    then_reindex: Annotated[
        bool,
        typer.Option(
            "--then-reindex",
            help="Also index, check and activate it, and wait until a worker serves it; exit code 1 if refused.",
        ),
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name and figures as one JSON object.")
    ] = False,
) -> None:
    """Train a model and write it as a new release, whose name is printed.

    Ctrl-C ends the training early and keeps the best weights so far; a second Ctrl-C discards them. With --resume and the
    same options, an interrupted run continues after its last complete epoch. Several GPUs share the work. `marquee
    releases` shows the release. With --then-reindex, training starts only if Kafka can be reached.
    """
    _check(model, split)
    options = {
        "epochs": epochs, "patience": patience, "dimension": dimension, "batch": batch, "learning_rate": lr,
        "seed": seed,
    }  # fmt: skip
    chosen = {name: value for name, value in options.items() if value is not None}
    if model == "fusion" and {"patience", "dimension"} & chosen.keys():
        raise typer.BadParameter("--patience and --dimension are options of the sequence model")
    from ops.commands import training_run
    from ops.training.devices import spawn

    period = None
    if feedback is not None:
        settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
        period = training_run.Feedback(settings, feedback, datetime.now(UTC))
    run = training_run.Run(
        data, store, model, split, fold, resume, start, period, chosen, threads, checkpoints, as_json
    )
    if not then_reindex:
        spawn(training_run.train, run)
        return
    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    with reindexed(settings):
        spawn(training_run.train, run)


@contextmanager
def reindexed(settings: "Settings") -> "Iterator[None]":
    """Index and activate the release that the block writes. Checks before the block that Kafka can be reached.

    Raises:
        UnreachableError: Kafka cannot be reached.
        MarqueeError: the indexer refused the release, or no worker served it in time.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ops.deployment.indexing import index
    from worker.kafka.reader import read_releases
    from worker.release.store import ReleaseStore

    read_releases(settings, _KAFKA_SECONDS)
    before = set(ReleaseStore(settings.store).names())
    yield
    written = [name for name in ReleaseStore(settings.store).names() if name not in before]
    if not written:
        return  # the training was complete already, and wrote none
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("indexing", total=1.0)
        index(settings, written[-1], report=lambda share: bar.update(task, completed=share))
    console.print(f"release {written[-1]} is active, and served")


def _check(model: str, split: str | None) -> None:
    if model not in _SPLITS:
        raise typer.BadParameter(f"{model!r} is no model: use sequence or fusion", param_hint="--model")
    if split is not None and split not in _SPLITS[model]:
        raise typer.BadParameter(
            f"{split!r} is no split of the {model} model: use {', '.join(_SPLITS[model])}",
            param_hint="--split",
        )
