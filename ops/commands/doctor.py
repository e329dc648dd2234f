"""`marquee doctor`: what is wrong with this installation, and how to mend it."""

import json
from itertools import chain
from typing import Annotated

import typer

from ops.commands.options import (
    LONGEST_S,
    AsJson,
    BootstrapServers,
    Milvus,
    Prefix,
    Store,
    finite,
    settings_with,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for each server.", min=0.1, max=LONGEST_S, callback=finite)
    ] = 10.0,
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine (versions, Paddle, GPU and driver, Java, port) and the servers (Kafka and its topics' settings,
    Milvus, the store), and say how to mend what is wrong.

    Changes nothing. Exit code 1 where something is wrong; a note is no wrong.
    """
    from rich.markup import escape
    from rich.table import Table

    from ops.commands.printing import console
    from ops.deployment.machine import machine
    from ops.deployment.servers import servers

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, milvus=milvus, store=store)
    findings = list(chain(machine(settings), servers(settings, timeout)))
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        colours = {"ok": "green", "note": "yellow", "wrong": "red"}
        table = Table(box=None, show_header=False)
        for found in findings:
            state = f"[{colours[found.state]}]{found.state}[/]"
            mend = f"\n[bold]→ {escape(found.mend)}[/]" if found.mend else ""
            table.add_row(state, found.part, escape(found.detail) + mend)
        console().print(table)
    if any(found.state == "wrong" for found in findings):
        raise typer.Exit(1)
