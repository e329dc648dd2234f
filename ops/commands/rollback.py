"""`marquee rollback` and `marquee activate`: to a release whose collection is there, so that nothing is built."""

from typing import Annotated

import typer

from ops.options import AsJson, BootstrapServers, Prefix, settings_with
from ops.release_commands import ExpectedEpoch, Force, OutcomeTimeout, Release, Wait, carry_out


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(rollback)
    app.command()(activate)


def rollback(
    release: Annotated[
        str | None, typer.Argument(help="The one before the active release if left out.", show_default=False)
    ] = None,
    expected_epoch: ExpectedEpoch = None,
    wait: Wait = True,
    timeout: OutcomeTimeout = 120.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release: its collection is still there, so it serves within seconds, whatever its evaluation.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    carry_out(
        settings,
        "rollback",
        release,
        wait=wait,
        timeout_s=timeout,
        as_json=as_json,
        expected_epoch=expected_epoch,
    )


def activate(
    release: Release,
    force: Force = False,
    expected_epoch: ExpectedEpoch = None,
    wait: Wait = True,
    timeout: OutcomeTimeout = 120.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Have a release serve that is indexed already: one that was on trial, for instance.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    carry_out(
        settings,
        "activate",
        release,
        wait=wait,
        timeout_s=timeout,
        as_json=as_json,
        force=force,
        expected_epoch=expected_epoch,
    )
