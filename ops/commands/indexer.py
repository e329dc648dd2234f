"""`marquee indexer`: from release commands to checked collections, until it is stopped."""

from typing import Annotated

import typer

from ops.commands.options import BootstrapServers, Milvus, Port, Prefix, Store, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(indexer)


def indexer(
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    indexer_id: Annotated[
        str | None,
        typer.Option("--id", help="Name that survives a restart; the host's name and a slot if left out."),
    ] = None,
    port: Port = None,
) -> None:
    """Carry out release commands: build a collection, check it, activate it, and clean up.

    Any number may run; one at a time has the commands. Waits for Kafka and Milvus for as long as it takes, and says at
    /health/ready what it waits for. Every other setting is a MARQUEE_… variable.

    Exit codes: 0 stopped; 1 this machine has no room or no right for a file; 2 a wrong setting, or Kafka or Milvus refused
    who we are; 3 Kafka ended this process for good (fenced by its successor). After 1 and 3 a supervisor restarts it.
    """
    settings = settings_with(
        bootstrap_servers=bootstrap_servers,
        milvus=milvus,
        store=store,
        prefix=prefix,
        indexer_id=indexer_id,
        port=port,
    )
    from ops.deployment import logs
    from ops.deployment.disk import long_running
    from ops.deployment.schema_check import check_schemas
    from ops.deployment.settings import log_unread_variables
    from worker.run_indexer import run_indexer

    logs.set_up(settings.log)
    log_unread_variables()
    check_schemas(settings)
    with long_running():
        run_indexer(settings)
