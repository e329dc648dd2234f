"""`marquee demo`: the main job, from data to recommendations."""

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
        typer.Option(help="Folder with users.dat, movies.dat and ratings.dat; generated if missing."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder to work in, which stays; a temporary one if missing.")
    ] = None,
    events: Annotated[int, typer.Option(help="Profile events to stream.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Of data, training and stream.", min=0)] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the temporary folder.")] = False,
) -> None:
    """Train a model, start Kafka, Milvus and a worker, recommend to two people, and stream thousands.

    Nothing is left running, however it ends. With generated data it takes less than three minutes on two cores.
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
    """SIGTERM and a closed terminal end us as Ctrl-C does: through every `finally`, once."""

    def end(number: int, _frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(other, signal.SIG_IGN)  # a second one would cut the clearing-up short
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    yield
