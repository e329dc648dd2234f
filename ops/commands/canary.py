"""`marquee canary` and `marquee end`: a share of the keys is served by a candidate, until that is ended."""

from typing import Annotated

import typer

from ops.commands.options import finite
from ops.commands.orders import Force, Order, Release, release_command


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(canary)
    app.command()(end)


@release_command(timeout_s=600.0)
def canary(
    release: Release,
    share: Annotated[
        float, typer.Option(help="Of the keys, above 0, up to 1.", min=0.0001, max=1.0, callback=finite)
    ] = 0.05,
    force: Force = False,
) -> Order:
    """Serve a share of the keys with a candidate, built and checked first if need be.

    The same keys in every worker, by a stable hash; with a larger share, these and more. Each result says which release
    made it. `marquee end` ends it, and so does any activation: `marquee activate RELEASE` if all should have it.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("canary", release, {"share": share, "force": force})


@release_command(timeout_s=120.0)
def end() -> Order:
    """End the shadow or canary: the active release answers everything again. The candidate stays ready.

    Exit codes: 0 done; 1 nothing is on trial, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("end", None)
