"""`marquee canary` and `marquee end`: a share of the keys is served by a candidate, until that is ended."""

from typing import Annotated

import typer

from ops.options import AsJson, BootstrapServers, Prefix, settings_with
from ops.release_commands import Force, OutcomeTimeout, Release, Wait, carry_out


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(canary)
    app.command()(end)


def canary(
    release: Release,
    share: Annotated[float, typer.Option(help="Of the keys, above 0, up to 1.", min=0.0001, max=1.0)] = 0.05,
    force: Force = False,
    wait: Wait = True,
    timeout: OutcomeTimeout = 600.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Serve a share of the keys with a candidate, built and checked first if need be.

    The same keys in every worker, by a stable hash; with a larger share, these and more. Each result says which release
    made it. `marquee end` ends it, and so does any activation: `marquee activate RELEASE` if all should have it.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    carry_out(
        settings,
        "canary",
        release,
        wait=wait,
        timeout_s=timeout,
        as_json=as_json,
        share=share,
        force=force,
    )


def end(
    wait: Wait = True,
    timeout: OutcomeTimeout = 120.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """End the shadow or canary: the active release answers everything again. The candidate stays ready.

    Exit codes: 0 done; 1 nothing is on trial, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    carry_out(settings, "end", None, wait=wait, timeout_s=timeout, as_json=as_json)
