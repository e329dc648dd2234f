"""Tables, sizes, durations and progress for people."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ops.training.loop import Progress as TrainingStep
    from schemas.recommendation import RecommendedMovie

_PIPED_WIDTH = 200  # so that no cell is cut off for a program that reads the table
_MOVIE_COLUMNS = ("Top", "Ids", "Title", "Score")
_SIZES = ("B", "kB", "MB", "GB", "TB")


def console() -> "Console":
    """Open standard output, as wide as the terminal, or wide enough for any table if it is none."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)


def movie_table(movies: "Sequence[RecommendedMovie]") -> str:
    """Format the seed's table, `Top Ids Title Score`, numbered from 0, its cells padded and separated by tabs."""
    rows = [(str(movie.rank - 1), str(movie.movie_id), movie.title, f"{movie.score:.6f}") for movie in movies]
    widths = [max(map(len, column)) for column in zip(_MOVIE_COLUMNS, *rows, strict=True)]
    lines = [
        "\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [_MOVIE_COLUMNS, *rows]
    ]
    return "\n".join(lines)


def cell(value: object) -> str:
    """Format a value, and None as an empty cell."""
    return "" if value is None else str(value)


def size(length: float) -> str:
    """Format a number of bytes in its unit: `1.23 MB`."""
    for unit in _SIZES[:-1]:
        if length < 1_000:
            return f"{length:.3g} {unit}"
        length /= 1_000
    return f"{length:.3g} {_SIZES[-1]}"


def age(span: timedelta) -> str:
    """Format a time span in its largest unit: `3 d`."""
    seconds = int(span.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def duration(seconds: float) -> str:
    """Format an estimate: `25 s`, `12 minutes`."""
    return f"{max(5, round(seconds / 5) * 5)} s" if seconds < 100 else f"{round(seconds / 60)} minutes"


@contextmanager
def interruptible(console: "Console") -> "Iterator[Callable[[], bool]]":
    """Yield a function that is true after the first Ctrl-C; the second Ctrl-C raises KeyboardInterrupt."""
    interrupted = False

    def interrupt(_signum: int, _frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, before)
        console.print(
            "Stopping; the release will contain the best weights so far. Ctrl-C again discards them."
        )

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def training_progress(console: "Console") -> "Iterator[Callable[[TrainingStep], None]]":
    """Yield a function that shows a step of the training as a bar, or, without a terminal, a line for each epoch."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=1.0)
        printed = 0

        def report(step: "TrainingStep") -> None:
            nonlocal printed
            best = step.said[step.measured.index(min(step.measured))] if step.said else ""
            bar.update(
                task,
                completed=step.share,
                description=f"epoch {step.epoch}  loss {step.loss:.3f}" + (best and f"  best so far {best}"),
            )
            if bar.disable and len(step.said) > printed:
                printed = len(step.said)
                console.print(f"{datetime.now(UTC):%H:%M:%S} UTC, epoch {printed}: {step.said[-1]}")

        yield report
