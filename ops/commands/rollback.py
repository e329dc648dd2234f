"""`marquee rollback` and `marquee activate`: to a release whose collection is there, so that nothing is built."""

from typing import Annotated

import typer

from ops.commands.orders import ExpectedEpoch, Force, Order, Release, release_command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(rollback)
    app.command()(activate)


@release_command(timeout_s=120.0)
def rollback(
    release: Annotated[
        str | None, typer.Argument(help="The one before the active release if left out.", show_default=False)
    ] = None,
    expected_epoch: ExpectedEpoch = None,
) -> Order:
    """Go back to an earlier release: its collection is still there, so it serves within seconds, whatever its evaluation.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("rollback", release, {"expected_epoch": expected_epoch})


@release_command(timeout_s=120.0)
def activate(release: Release, force: Force = False, expected_epoch: ExpectedEpoch = None) -> Order:
    """Have a release serve that is indexed already: one that was on trial, for instance.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("activate", release, {"force": force, "expected_epoch": expected_epoch})
