"""`marquee up`: a deployment on this machine, in the foreground."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.commands.options import Prefix, Store, settings_with
from ops.local.tether import ENDING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ops.local.up import Up


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    workers: Annotated[int, typer.Option(min=0, max=100, help="Worker processes.")] = 1,
    nodes: Annotated[int, typer.Option(help="Kafka nodes: 1, or 3 with replication 3.")] = 1,
    milvus: Annotated[
        Literal["lite", "standalone"], typer.Option(help="The embedded server, or all of Milvus.")
    ] = "lite",
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder of Kafka's and Milvus' data, the logs and up.json.")
    ] = Path(".marquee"),
    store: Store = None,
    prefix: Prefix = None,
) -> None:
    """Start Kafka, Milvus, an indexer, workers and an outcomes worker here, and keep them running until Ctrl-C or SIGTERM.

    Prints processes and addresses, and writes them to DIR/up.json. Uses the default ports if they are free (9092, 19530,
    9464), else others, and then also prints the variables with which commands find them. Restarts a process that ends, at
    the same address. Data stays in DIR for the next `marquee up`. If MARQUEE_KAFKA__BOOTSTRAP_SERVERS or
    MARQUEE_MILVUS__URI is set, that server is used instead of a local one.
    """
    from rich.console import Console

    from ops.deployment import logs
    from ops.local.up import Plan, Up, locked

    if nodes not in (1, 3):
        raise typer.BadParameter("1 or 3", param_hint="--nodes")
    settings = settings_with(prefix=prefix, store=store)
    logs.set_up(settings.log)
    interrupts = _raise_on_signals()
    console = Console()
    with locked(directory):
        deployment = Up(Plan(directory, nodes, milvus, workers), settings)
        try:
            with suppress(KeyboardInterrupt):
                with console.status("Starting …"):
                    deployment.start()
                _show(console, deployment)
                deployment.supervise(lambda: bool(interrupts))
        finally:
            # A second Ctrl-C would interrupt the shutdown. kill -9 remains, and ends the children too.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
            if interrupts:
                console.print("Ending workers, indexer, Milvus, Kafka …")
            deployment.stop()


def _raise_on_signals() -> list[int]:
    """Raise KeyboardInterrupt at Ctrl-C, SIGTERM and a closed terminal, and return the list of the signals that came."""
    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        # Python cannot raise inside some callbacks, such as that of a weak reference: there only the list remains.
        interrupts.append(number)
        raise KeyboardInterrupt

    for number in ENDING:
        signal.signal(number, interrupt)
    return interrupts


def _show(console: "Console", deployment: "Up") -> None:
    console.print(_table(deployment))
    if exports := deployment.exports():
        console.print("For commands beside it:")
        console.print("\n".join(exports), soft_wrap=True, highlight=False, markup=False)
    console.print(f"Logs and up.json are in {deployment.directory}. Ctrl-C ends all processes.")


def _table(deployment: "Up") -> "Table":
    from rich.table import Table

    table = Table("What", "Process", "Where", title="Marquee runs")
    settings = deployment.settings
    if deployment.kafka is None:
        table.add_row("Kafka", "not ours", settings.kafka.bootstrap_servers)
    else:
        for node, process in zip(deployment.kafka.nodes, deployment.kafka.processes, strict=True):
            table.add_row(process.name, str(process.pid), node.address)
    if deployment.milvus is None:
        table.add_row("Milvus", "not ours", settings.milvus.uri)
    else:
        table.add_row(deployment.milvus.name, str(deployment.milvus.pid), settings.milvus.uri)
    for role in deployment.roles:
        host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
        address = f"http://{host}:{role.http_port}/metrics"
        table.add_row(role.child.name, str(role.child.pid), address)
    table.add_row("store", "", settings.store)
    return table
