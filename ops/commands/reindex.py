"""`marquee reindex`: the admin producer; has a release embedded, indexed, checked and activated."""

from typing import Annotated

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, Store, settings_with
from ops.commands.orders import ExpectedEpoch, Force, OutcomeTimeout, carry_out

LATEST = "latest"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reindex)


def reindex(
    release: Annotated[str, typer.Argument(help="Name of a release in the store, or `latest`.")] = LATEST,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it is active, and fail if it is not.")
    ] = False,
    force: Force = False,
    expected_epoch: ExpectedEpoch = None,
    timeout: OutcomeTimeout = 600.0,
    bootstrap_servers: BootstrapServers = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Tell the indexer to embed, index, check and activate a release; workers then take it over by themselves.

    Exit codes: 0 sent, and with --wait active; 1 it was refused, or nothing became of it within --timeout; 2 Kafka cannot
    be reached.
    """
    from ops.deployment.indexing import newest

    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    name = newest(settings) if release == LATEST else release
    carry_out(
        settings,
        "index",
        name,
        wait=wait,
        timeout_s=timeout,
        as_json=as_json,
        force=force,
        expected_epoch=expected_epoch,
    )
