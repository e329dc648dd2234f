"""`marquee status`: the health of every part, the releases, and the lag."""

import json
from typing import TYPE_CHECKING

import typer

from ops.commands.options import AsJson, BootstrapServers, Milvus, Prefix, Store, Timeout, settings_with

if TYPE_CHECKING:
    from rich.table import Table

    from ops.deployment.overview import Overview


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    timeout: Timeout = 15.0,
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Show each part's health, the releases with the workers that serve them, and the lag of the consumer groups.

    Exit code 0 if every part is healthy, 1 if one is not, 2 if Kafka cannot be reached.
    """
    from ops.commands.printing import console
    from ops.deployment.overview import overview

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, milvus=milvus, store=store)
    found = overview(settings, timeout)
    if as_json:
        typer.echo(json.dumps(_as_json(found)))
    else:
        out = console()
        for table in (_parts(found), _releases(found), _groups(found)):
            out.print(table)
            out.print()
    if found.problems:
        raise typer.Exit(1)


def _rows(found: "Overview") -> list[dict[str, object]]:
    """List the releases, newest first, with those of the store that are not indexed."""
    view = found.releases
    rows: list[dict[str, object]] = []
    for name in sorted({*view.releases, *found.stored}, reverse=True):
        record = view.releases.get(name)
        active = view.active is not None and view.active.release == name
        rows.append(
            {
                "release": name,
                "state": record.state.value if record else "not indexed",
                "active": active,
                "epoch": view.active.epoch if view.active and active else None,
                "rows": record.rows if record else None,
                "progress": record.progress if record else None,
                "collection": record.collection if record else None,
                "reason": record.reason if record else None,
                "served_by": found.served_by(name),
            }
        )
    return rows


def _as_json(found: "Overview") -> dict[str, object]:
    return {
        "healthy": not found.problems,
        "parts": [
            {"part": part.name, "detail": part.detail, "problem": part.problem} for part in found.parts
        ],
        "active": found.releases.active.model_dump(mode="json") if found.releases.active else None,
        "releases": _rows(found),
        "workers": [worker.model_dump(mode="json") for worker in found.workers],
        "groups": [
            {
                "group": group.name,
                "topic": group.topic,
                "state": group.state,
                "members": group.members,
                "lag": group.total_lag,
                "lag_by_partition": {str(number): behind for number, behind in group.lag.items()},
            }
            for group in found.groups
        ],
    }


def _parts(found: "Overview") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("Part", "Health", "", box=None)
    for part in found.parts:
        health = "[red]not well[/red]" if part.problem else "[green]well[/green]"
        table.add_row(part.name, health, escape(part.problem or part.detail))
    return table


def _releases(found: "Overview") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from ops.commands.printing import cell

    table = Table("Release", "State", "Epoch", "Movies", "Served by", "", box=None)
    for row in _rows(found):
        state, progress = str(row["state"]), row["progress"]
        if state == "indexing" and isinstance(progress, float):
            state = f"indexing, {progress:.0%}"
        served_by = row["served_by"]
        table.add_row(
            f"[bold]{row['release']}[/bold]" if row["active"] else str(row["release"]),
            state,
            cell(row["epoch"]),
            cell(row["rows"]),
            ", ".join(served_by) if isinstance(served_by, list) else "",
            escape(cell(row["reason"])),
        )
    return table


def _groups(found: "Overview") -> "Table":
    from rich.table import Table

    table = Table("Group", "Topic", "State", "Members", "Lag", box=None)
    for group in found.groups:
        table.add_row(group.name, group.topic, group.state, str(group.members), f"{group.total_lag:,}")
    return table
