"""Release commands: reindex, activate, rollback, retire, shadow, canary, end; and `marquee export`."""

import json
from typing import Annotated

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, Store, finite, settings_with
from ops.commands.orders import (
    ExpectedEpoch,
    Force,
    Order,
    Release,
    StatusTimeout,
    carry_out,
    release_command,
)

LATEST = "latest"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (reindex, rollback, activate, retire, shadow, canary, end, export):
        app.command()(command)


def reindex(
    release: Annotated[str, typer.Argument(help="Name of a release in the store, or `latest`.")] = LATEST,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the release is active, and fail if it is refused.")
    ] = False,
    force: Force = False,
    expected_epoch: ExpectedEpoch = None,
    timeout: StatusTimeout = 600.0,
    bootstrap_servers: BootstrapServers = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Have the indexer embed, index, check and activate a release. Workers then swap to it by themselves.

    Exit codes: 0 sent, and with --wait active; 1 refused, or no status within --timeout; 2 Kafka cannot be reached.
    """
    from ops.deployment.indexing import newest

    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    name = newest(settings) if release == LATEST else release
    order = Order("index", name, {"force": force, "expected_epoch": expected_epoch})
    carry_out(settings, order, wait=wait, timeout_s=timeout, as_json=as_json)


@release_command(timeout_s=120.0)
def rollback(
    release: Annotated[
        str | None,
        typer.Argument(help="A release. By default the one before the active release.", show_default=False),
    ] = None,
    expected_epoch: ExpectedEpoch = None,
) -> Order:
    """Go back to an earlier release. Its collection still exists, so it serves within seconds, whatever its evaluation.

    Exit codes: 0 done; 1 refused, or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("rollback", release, {"expected_epoch": expected_epoch})


@release_command(timeout_s=120.0)
def activate(release: Release, force: Force = False, expected_epoch: ExpectedEpoch = None) -> Order:
    """Activate a release that is indexed already, for instance a candidate.

    Exit codes: 0 done; 1 refused, or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("activate", release, {"force": force, "expected_epoch": expected_epoch})


@release_command(timeout_s=120.0)
def retire(release: Release) -> Order:
    """Give up the collection of a release. The indexer drops it once no live worker serves it. Its files stay.

    Exit codes: 0 done; 1 refused (it is active, or on trial), or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("retire", release)


@release_command(timeout_s=600.0)
def shadow(
    release: Release,
    share: Annotated[
        float, typer.Option(help="Share of the batches, up to 1.", min=0.0001, max=1.0, callback=finite)
    ] = 0.1,
) -> Order:
    """Have workers answer a share of the batches with a candidate as well. The indexer builds and checks it first.

    No result of it is published: /metrics has overlap@5, score shift and latency (marquee_shadow_…), and `marquee
    releases` shows them. `marquee end` and any activation end it. Another share replaces this one.

    Exit codes: 0 done; 1 refused, or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("shadow", release, {"share": share})


@release_command(timeout_s=600.0)
def canary(
    release: Release,
    share: Annotated[
        float, typer.Option(help="Share of the keys, up to 1.", min=0.0001, max=1.0, callback=finite)
    ] = 0.05,
    force: Force = False,
) -> Order:
    """Serve a share of the keys with a candidate. The indexer builds and checks it first.

    The keys are the same in every worker, by a stable hash; a larger share contains them. Each result contains its
    release. `marquee end` and any activation end the canary; `marquee activate RELEASE` serves all keys with it.

    Exit codes: 0 done; 1 refused, or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("canary", release, {"share": share, "force": force})


@release_command(timeout_s=120.0)
def end() -> Order:
    """End the shadow or canary: the active release serves everything again. The candidate stays ready.

    Exit codes: 0 done; 1 nothing is on trial, or no status within --timeout; 2 Kafka cannot be reached.
    """
    return Order("end", None)


def export(
    release: Annotated[str, typer.Argument(help="Name of the release.")],
    store: Annotated[str | None, typer.Option(help="Folder or fsspec URL of the releases.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name and format as one JSON object.")
    ] = False,
) -> None:
    """Write a release again, as a new one, in the program format of the Paddle that runs here.

    Paddle 3 reads the programs of 2.6, but 2.6 does not read those of 3: run this under 2.6 to serve a release there.
    """
    from ops.training.export import export_release
    from schemas.settings import load_settings
    from worker.release.store import ReleaseStore

    manifest = export_release(ReleaseStore(store or load_settings().store), release)
    fields = {
        "release": manifest.release,
        "program_format": manifest.program_format,
        "paddle_version": manifest.paddle_version,
        "exported_from": release,
    }
    print(json.dumps(fields) if as_json else manifest.release)  # noqa: T201
