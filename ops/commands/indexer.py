"""`marquee indexer`: from release commands to checked collections, until it is stopped."""

from typing import Annotated

import typer

from schemas.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(indexer)


def indexer(
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="Kafka brokers, host:port[,host:port…].")
    ] = None,
    milvus: Annotated[str | None, typer.Option(help="URI of the Milvus server.")] = None,
    store: Annotated[str | None, typer.Option(help="Folder or URL of the releases.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Of topics, groups and collections.")] = None,
    indexer_id: Annotated[
        str | None,
        typer.Option("--id", help="Name that survives a restart; the host's name and a slot if left out."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Of /metrics and /health; 0 takes a free one.")] = None,
) -> None:
    """Carry out release commands: build a collection, check it, activate it, and clean up.

    Any number may run; one at a time has the commands. Waits for Kafka and Milvus for as long as it takes, and says at
    /health/ready what it waits for. Every other setting is a MARQUEE_… variable.

    Exit codes: 0 stopped; 2 a wrong setting, or Kafka or Milvus refused who we are; 3 Kafka ended this process for good
    (fenced by its successor): a supervisor restarts it.
    """
    settings = load_settings(
        **{name: value for name, value in {"store": store, "prefix": prefix}.items() if value is not None},
        kafka={} if bootstrap_servers is None else {"bootstrap_servers": bootstrap_servers},
        milvus={} if milvus is None else {"uri": milvus},
        indexer={} if indexer_id is None else {"id": indexer_id},
        http={} if port is None else {"port": port},
    )
    from ops import logs
    from worker.run_indexer import run_indexer

    logs.set_up(settings.log)
    run_indexer(settings)
