"""`marquee worker`: from profile events to recommendations, until it is stopped."""

from typing import Annotated

import typer

from ops.commands.options import BootstrapServers, Milvus, Port, Prefix, Store, settings_with


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    worker_id: Annotated[
        str | None,
        typer.Option("--id", help="Name that survives a restart; the host's name and a slot if left out."),
    ] = None,
    port: Port = None,
) -> None:
    """Answer profile events, exactly once, with the active release.

    Waits for Kafka, Milvus and an active release for as long as it takes, and says at /health/ready what it waits for.
    SIGTERM finishes what is in flight, commits, and leaves the group. Every other setting is a MARQUEE_… variable.

    Exit codes: 0 stopped; 1 this machine has no room or no right for a file; 2 a wrong setting, or Kafka or Milvus refused
    who we are; 3 Kafka ended this process for good (fenced by its successor, or an event was removed before it was
    answered). After 1 and 3 a supervisor restarts it.
    """
    settings = settings_with(
        bootstrap_servers=bootstrap_servers,
        milvus=milvus,
        store=store,
        prefix=prefix,
        worker_id=worker_id,
        port=port,
    )
    from ops.deployment import logs
    from ops.deployment.disk import long_running
    from ops.deployment.schema_check import check_schemas
    from ops.deployment.settings import log_unread_variables
    from worker.run import run_worker

    logs.set_up(settings.log)
    log_unread_variables()
    check_schemas(settings)
    with long_running():
        run_worker(settings)
