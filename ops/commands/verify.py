"""`marquee verify`: compares lists from Paddle alone with lists from Milvus."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import AsJson, BootstrapServers, Milvus, Prefix, Store, Timeout, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from ops.offline.verify import Difference
    from schemas.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    release: Annotated[
        str | None, typer.Option(help="A release that has a collection. By default the active one.")
    ] = None,
    timeout: Timeout = 30.0,
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Score all movies with Paddle alone for all 294 combinations of age, gender and job, and compare with Milvus.

    The top 5 must be the same movies with the same scores (within 1e-4) in the same order (neighbours within 1e-5 may
    swap). Diversity is ignored, because it is applied later. Prints the number of equal lists. Exit code 1 if any differs.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, milvus=milvus, store=store, prefix=prefix)
    name, collection = _served(settings, release, timeout)
    compared = _compare(settings, name, collection)
    differences = [found for found in compared if found is not None]
    equal = len(compared) - len(differences)
    if as_json:
        shown = {
            "release": name,
            "collection": collection,
            "combinations": len(compared),
            "equal": equal,
            "differences": [dataclasses.asdict(each) for each in differences],
        }
        typer.echo(json.dumps(shown))
    else:
        for each in differences:
            typer.echo(_sentence(each))
        typer.echo(f"{equal}/{len(compared)}")
    if differences:
        raise typer.Exit(1)


def _compare(settings: "Settings", release: str, collection: str) -> "list[Difference | None]":
    """Compare every combination, with a progress bar; None for equal lists."""
    from contextlib import closing

    from rich.console import Console
    from rich.progress import track

    from ops.data.seed_codes import combinations
    from ops.offline import verify as verification
    from worker.release.store import ReleaseStore
    from worker.retrieval.milvus import Milvus as MilvusServer

    loaded = ReleaseStore(settings.store).load(release)
    console = Console(stderr=True)
    with closing(MilvusServer(settings.milvus)) as server:
        compared = track(
            verification.verify(loaded, server, collection),
            description=f"{release} in {collection}",
            total=len(combinations()),
            console=console,
            disable=not console.is_terminal,
        )
        return list(compared)


def _served(settings: "Settings", release: str | None, timeout_s: float) -> tuple[str, str]:
    """Find name and collection of the release."""
    from worker.kafka.reader import read_releases

    view = read_releases(settings, timeout_s)
    if release is None:
        if view.active is None:
            raise MarqueeError("no release is active; index one with `marquee reindex RELEASE --wait`")
        return view.active.release, view.active.collection
    record = view.releases.get(release)
    if record is None or record.collection is None:
        raise MarqueeError(
            f"release {release} has no collection; index it with `marquee reindex {release} --wait`"
        )
    return release, record.collection


def _sentence(difference: "Difference") -> str:
    return (
        f"-a {difference.age} -g {difference.gender} -j {difference.job}: {difference.what}; "
        f"Paddle {difference.paddle}, Milvus {difference.milvus}"
    )
