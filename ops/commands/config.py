"""`marquee config`: the settings that are in force, and where each came from."""

import json
from typing import Annotated

import typer

from ops.commands.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("config")(config)


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is set somewhere.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting as `marquee worker` would use it here, and whether it is the default, a variable's, a secret's
    or the file's.

    Secrets are hidden, also those inside of URLs and of librdkafka's own options. Exit code 2 where a setting is wrong.
    """
    from rich.markup import escape
    from rich.table import Column, Table

    from ops.commands.printing import console
    from ops.deployment.settings import in_force, unknown_variables
    from schemas.settings import load_settings

    for name in unknown_variables():
        typer.echo(f"{name} is no setting, and nobody reads it", err=True)
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
        value = "" if setting.value is None else str(setting.value)
        table.add_row(setting.variable, escape(value), escape(setting.origin))
    console().print(table)
