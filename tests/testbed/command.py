"""Commands of a clone that `make` runs: errors become one sentence and an exit code, as those of `marquee` do."""

import shlex
import sys
from collections.abc import Callable, Sequence

import typer

from schemas.errors import MarqueeError


def run(command: Callable[..., None]) -> None:
    """Run a Typer command with the arguments of this process."""
    try:
        typer.run(command)
    except MarqueeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


def make_command(target: str, arguments: Sequence[str]) -> str:
    """Spell a target of the Makefile with its arguments, to be copied into a shell."""
    return f"make {target} ARGS={shlex.quote(shlex.join(arguments))}" if arguments else f"make {target}"
