"""`marquee demo`: from data to recommendations on this machine."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with users.dat, movies.dat and ratings.dat; by default generated."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder to work in, which is kept. By default a temporary one."),
    ] = None,
    events: Annotated[int, typer.Option(help="Profile events to stream.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of data, training and stream.", min=0)] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder.")] = False,
) -> None:
    """Train a model, start Kafka, Milvus and a worker, recommend to three users, and stream thousands of events.

    Every process has ended when it returns. It takes less than three minutes on two cores with generated data.
    """
    from rich.console import Console

    from ops.commands.demonstration import Demo

    progress = Console(stderr=True)
    with _ended_by_signals(), _folder(folder, keep) as place:
        Demo(place, data, events, seed, Console(), progress).run()
        if keep or folder:
            progress.print(f"Everything is in {place}; `marquee up --dir {place}` starts it again.")


@contextmanager
def _folder(named: Path | None, keep: bool) -> Iterator[Path]:
    if named:
        named.mkdir(parents=True, exist_ok=True)
        yield named.absolute()
        return
    place = Path(tempfile.mkdtemp(prefix="marquee-demo-"))
    try:
        yield place
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Handle SIGTERM and a closed terminal like Ctrl-C: run every `finally`, once."""

    def end(number: int, _frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)  # a second one would interrupt the cleanup
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    yield
