"""`marquee outcomes`: the counts of the outcomes worker, by release, rank or segment."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.commands.options import AsJson, BootstrapServers, Prefix, Timeout, moment, settings_with

if TYPE_CHECKING:
    from rich.table import Table

    from ops.deployment.outcomes import Row


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(outcomes)


def outcomes(
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment,
            metavar="TIME",
            help="Only recommendations since then, to ten minutes: ISO 8601 (UTC), or ago: 90m, 24h, 7d.",
        ),
    ] = None,
    by: Annotated[Literal["release", "rank", "segment"], typer.Option(help="Group of a row.")] = "release",
    timeout: Timeout = 15.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Show impressions, and their shares clicked, watched, liked and disliked, with 95 % intervals (Wilson).

    An impression is a recommended movie with any feedback. A running canary is compared with the active release since its
    start (two-proportion z-test, which takes the events of a user for independent). Needs a `marquee outcomes-worker`.

    Exit code 2 if Kafka cannot be reached.
    """
    from ops.commands.printing import console
    from ops.deployment.outcomes import canary_comparisons, rows_by

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    rows = rows_by(settings, by, since, timeout)
    compared = canary_comparisons(settings, timeout)
    if as_json:
        shown = {"outcomes": [row.as_json(by) for row in rows], "canary": [one.as_json() for one in compared]}
        typer.echo(json.dumps(shown))
        return
    out = console()
    out.print(_table(by, rows) if rows else "No outcomes: does a `marquee outcomes-worker` run?")
    for one in compared:
        out.print(one.sentence(), highlight=False, markup=False, soft_wrap=True)


def _table(by: str, rows: "list[Row]") -> "Table":
    from rich.table import Table

    table = Table(
        by.capitalize(), "Recommended", "Impressions", "Clicked", "Watched", "Liked", "Disliked", box=None
    )
    for row in rows:
        rates = (row.rate(what) for what in ("clicked", "watched", "liked", "disliked"))
        table.add_row(
            row.name,
            f"{row.counts.recommended:,}",
            f"{row.counts.shown:,}",
            *(f"{rate.value:.2%} ({rate.low:.2%}–{rate.high:.2%})" for rate in rates),
        )
    return table
