"""Tables, sizes and durations for people."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

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
