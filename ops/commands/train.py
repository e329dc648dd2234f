"""`marquee train`: from a folder of data to a release in the store."""

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from ops.training.fit import Progress
    from ops.training.train import Trained


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    data: Annotated[Path, typer.Option(help="Folder with users.dat, movies.dat and ratings.dat.")],
    store: Annotated[str | None, typer.Option(help="Where releases are kept, any fsspec URL.")] = None,
    model: Annotated[str, typer.Option(help="fusion: the rating model of the Milvus bootcamp.")] = "fusion",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the ratings.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Ratings a step.")] = None,
    lr: Annotated[float | None, typer.Option(min=0.0, help="Adam's learning rate at its highest.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name and figures as one JSON object.")
    ] = False,
) -> None:
    """Train a model and write it as a new release, whose name is printed.

    Ctrl-C ends the training early and keeps the best weights so far; a second Ctrl-C gives up.
    """
    if model != "fusion":
        raise typer.BadParameter(f"{model!r} is no model: use fusion", param_hint="--model")
    from rich.console import Console

    from ops.data.movielens import load
    from ops.training.fit import Hyperparameters, use_threads
    from ops.training.train import train_fusion
    from schemas.settings import load_settings
    from worker.store import ReleaseStore

    console = Console(stderr=True)
    chosen = {"epochs": epochs, "batch": batch, "learning_rate": lr, "seed": seed}
    hyper = Hyperparameters(**{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]
    ratings = load(data)
    release_store = ReleaseStore(store or load_settings().store)
    use_threads(threads)
    with _interruptible(console) as interrupted, _progress(console) as report:
        trained = train_fusion(ratings, release_store, hyper, report=report, interrupted=interrupted)
    _show(console, trained)
    print(_as_json(trained) if as_json else trained.manifest.release)  # noqa: T201


@contextmanager
def _interruptible(console: "Console") -> "Iterator[Callable[[], bool]]":
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
def _progress(console: "Console") -> "Iterator[Callable[[Progress], None]]":
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=None)

        def report(step: "Progress") -> None:
            bar.update(
                task,
                total=step.steps,
                completed=step.step,
                description=f"epoch {step.epoch}  loss {step.loss:.3f}",
            )

        yield report


def _show(console: "Console", trained: "Trained") -> None:
    from rich.table import Table

    table = Table(
        "RMSE in stars, held-out ratings",
        "",
        title=f"release {trained.manifest.release}",
        title_justify="left",
    )
    names = {"global_mean": "global mean", "item_mean": "movie mean", "biases": "user and movie biases"}
    for name, label in names.items():
        table.add_row(label, f"{trained.baselines[name]:.4f}")
    table.add_row("[bold]fusion[/bold]", f"[bold]{trained.rmse:.4f}[/bold]")
    console.print(table)
    end = "interrupted after" if trained.interrupted else "trained"
    console.print(f"{end} {trained.epochs} epochs, {trained.seconds:.0f} s")


def _as_json(trained: "Trained") -> str:
    return json.dumps(
        {
            "release": trained.manifest.release,
            "rmse": trained.rmse,
            "baselines": trained.baselines,
            "epochs": trained.epochs,
            "seconds": round(trained.seconds, 1),
            "interrupted": trained.interrupted,
        }
    )
