"""`marquee shadow`: look before the leap; workers answer with a candidate too, and publish only how it compares."""

from typing import Annotated

import typer

from ops.commands.options import finite
from ops.commands.orders import Order, Release, release_command


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(shadow)


@release_command(timeout_s=600.0)
def shadow(
    release: Release,
    share: Annotated[
        float, typer.Option(help="Of the batches, above 0, up to 1.", min=0.0001, max=1.0, callback=finite)
    ] = 0.1,
) -> Order:
    """Have workers answer a share of the batches with a candidate as well, built and checked first if need be.

    No result of it is published: /metrics has overlap@5, score shift and latency (marquee_shadow_…), and `marquee
    releases` shows them. `marquee end` ends it, and so does any activation; another share replaces this one.

    Exit codes: 0 done; 1 refused, or no outcome within --timeout; 2 Kafka cannot be reached.
    """
    return Order("shadow", release, {"share": share})
