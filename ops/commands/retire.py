"""`marquee retire`: gives up the collection of a release that serves no more."""

import typer

from ops.options import AsJson, BootstrapServers, Prefix, settings_with
from ops.release_commands import OutcomeTimeout, Release, Wait, carry_out


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retire)


def retire(
    release: Release,
    wait: Wait = True,
    timeout: OutcomeTimeout = 120.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Give up the collection of a release; it is dropped as soon as no live worker serves it. Its files stay.

    Exit codes: 0 done; 1 refused (it is active, or on trial), or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    carry_out(settings, "retire", release, wait=wait, timeout_s=timeout, as_json=as_json)
