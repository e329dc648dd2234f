"""`marquee releases`: every release, its state and quality, and the workers that serve it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, Store, Timeout, settings_with

if TYPE_CHECKING:
    from rich.table import Table

    from ops.deployment.releases import ReleaseRow, TrialReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(releases)


def releases(
    timeout: Timeout = 15.0,
    bootstrap_servers: BootstrapServers = None,
    store: Store = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Show every release: state, epoch, movies, dimension, metrics, size, age, workers, and last command.

    Exit code 2 if Kafka cannot be reached.
    """
    from ops.commands.printing import console
    from ops.deployment.releases import overview

    settings = settings_with(bootstrap_servers=bootstrap_servers, store=store, prefix=prefix)
    found = overview(settings, timeout)
    if as_json:
        shown = {
            "releases": [_as_json(row) for row in found.rows],
            "trial": found.trial.as_json() if found.trial else None,
            "problems": found.problems,
        }
        typer.echo(json.dumps(shown))
        return
    out = console()
    out.print(_table(found.rows))
    if found.trial:
        out.print(_sentence(found.trial))
    for worker, problem in found.problems.items():
        out.print(f"{worker} {problem}", markup=False, highlight=False, soft_wrap=True)


def _as_json(row: "ReleaseRow") -> dict[str, object]:
    created = row.created_at.isoformat() if row.created_at else None
    age = row.age.total_seconds() if row.age else None
    return asdict(row) | {"created_at": created, "age_s": age}


def _table(rows: "list[ReleaseRow]") -> "Table":
    from rich.markup import escape
    from rich.table import Column, Table

    from ops.commands.printing import age, cell, size

    table = Table(
        Column("Release", no_wrap=True),
        "State",
        "Epoch",
        "Movies",
        "Dim",
        "Metrics",
        "Size",
        "Age",
        "Served by",
        "",
        box=None,
    )
    for row in rows:
        table.add_row(
            f"[bold]{row.release}[/bold]" if row.active else row.release,
            _state(row),
            cell(row.epoch),
            "" if row.movies is None else f"{row.movies:,}",
            cell(row.dimension),
            "\n".join(f"{name} {value:.4f}" for name, value in sorted(row.metrics.items())),
            "" if row.size is None else size(row.size),
            "" if row.age is None else age(row.age),
            ", ".join(row.served_by),
            escape(row.reason or row.last_command or ""),
        )
    return table


def _state(row: "ReleaseRow") -> str:
    if row.progress is not None and row.progress < 1.0 and row.state == "indexing":
        return f"indexing, {row.progress:.0%}"
    return f"{row.state}, {row.trial}" if row.trial else row.state


def _sentence(trial: "TrialReport") -> str:
    record = trial.record
    head = f"{record.kind} of {record.release}, share {record.share:g}, since {record.since:%Y-%m-%d %H:%M:%S} UTC"
    if record.kind == "canary":
        return head
    if trial.overlap_at_5 is None or trial.active_ms is None or trial.candidate_ms is None:
        return f"{head}: no results compared yet"
    return (
        f"{head}: {trial.compared:,} results compared, overlap@5 {trial.overlap_at_5:.3f}, score shift "
        f"{trial.score_shift or 0.0:+.4f}, {trial.candidate_ms:.1f} ms a batch beside {trial.active_ms:.1f} ms"
    )
