"""`marquee bench` and `marquee faults`, for one version: they name the targets of a clone's Makefile that follow them."""

from collections.abc import Callable

import typer

from schemas.errors import MarqueeError

_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


class MovedError(MarqueeError):
    """The command is another one now."""

    exit_code = 2


def register(app: typer.Typer) -> None:
    """Add both commands, without a line in the list of commands."""
    for name in ("bench", "faults"):
        app.command(name, hidden=True, context_settings=_ANYTHING)(_refusal(name))


def _refusal(name: str) -> Callable[[], None]:
    def refuse() -> None:
        raise MovedError(
            f"`marquee {name}` is `make {name}` in a clone of the repository now; options go into ARGS='…'"
        )

    return refuse
