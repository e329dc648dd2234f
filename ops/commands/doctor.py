"""`marquee doctor` and `marquee config`: checks of this installation, and its settings."""

import json
from itertools import chain
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from rich.table import Table

    from ops.deployment.finding import Finding

_COLOURS = {"ok": "green", "note": "yellow", "wrong": "red"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(config)
    app.command()(doctor)


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
    Milvus, the store), and print a remedy for each fault.

    Changes nothing. Exit code 1 if anything is wrong; a note is no fault.
    """
    from ops.commands.printing import console
    from ops.deployment.machine import machine
    from ops.deployment.servers import servers

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, milvus=milvus, store=store)
    findings = list(chain(machine(settings), servers(settings, timeout)))
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        console().print(_table(findings))
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def _table(findings: "list[Finding]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for finding in findings:
        state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        remedy = f"\n[bold]→ {escape(finding.mend)}[/]" if finding.mend else ""
        table.add_row(state, finding.part, escape(finding.detail) + remedy)
    return table


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are set somewhere.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting as `marquee worker` would use it here, and its source: default, variable, secret or file.

    Secrets are hidden, also those inside of URLs and of librdkafka's own options. Exit code 2 if a setting is wrong.
    """
    from rich.markup import escape
    from rich.table import Column, Table

    from ops.commands.printing import cell, console
    from ops.deployment.settings import in_force, unknown_variables
    from schemas.settings import load_settings

    for name in unknown_variables():
        typer.echo(f"{name} is no setting, and is ignored", err=True)
    shown = [setting for setting in in_force(load_settings()) if not changed or setting.origin != "default"]
    if as_json:
        rows = {setting.variable: {"value": setting.value, "origin": setting.origin} for setting in shown}
        typer.echo(json.dumps(rows, indent=2))
        return
    if not shown:
        typer.echo("Nothing is set: every setting has its default.")
        return
    table = Table(Column("Setting", no_wrap=True), "Value", "From", box=None)
    for setting in shown:
        table.add_row(setting.variable, escape(cell(setting.value)), setting.origin)
    console().print(table)
