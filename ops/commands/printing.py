"""Where tables for people go."""

from rich.console import Console

_PIPED_WIDTH = 200  # nothing is cut off for a program that reads the table


def console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for anything where it is none."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=_PIPED_WIDTH)
