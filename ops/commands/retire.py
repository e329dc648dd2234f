"""`marquee retire`: gives up the collection of a release that serves no more."""

import typer

from ops.commands.orders import Order, Release, release_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retire)


@release_command(timeout_s=120.0)
def retire(release: Release) -> Order:
    """Give up the collection of a release; it is dropped as soon as no live worker serves it. Its files stay.

    Exit codes: 0 done; 1 refused (it is active, or on trial), or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("retire", release)
