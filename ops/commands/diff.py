"""`marquee diff`: the lists of two releases compared."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import AsJson, Store, settings_with

if TYPE_CHECKING:
    from rich.table import Table

    from ops.offline.diff import Changed, Difference


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(diff)


def diff(
    before: Annotated[str, typer.Argument(help="Name of a release in the store.")],
    after: Annotated[str, typer.Argument(help="Name of another.")],
    profiles: Annotated[
        Path | None,
        typer.Option(
            help="File of profile events, one JSON object a line. By default generated ones.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of generated profiles.", min=1)] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the generated profiles.", min=0)] = 0,
    top: Annotated[int, typer.Option(help="Number of the most changed lists to show.", min=0)] = 5,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Compare the lists of two releases: overlap@5, rank shift, score shift, coverage, and the most changed lists.

    Needs the store alone: both releases search exactly, with the diversity of MARQUEE_WORKER__DIVERSITY. Exit code 1 if a
    release or the profiles cannot be read.
    """
    from ops.commands.printing import console
    from ops.offline.diff import compare, read_profiles

    settings = settings_with(store=store)
    found = compare(
        settings, before, after, read_profiles(profiles) if profiles else count, seed=seed, top=top
    )
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    out = console()
    out.print(_table(found))
    for changed in found.most_changed:
        out.print(_lists(changed))


def _table(found: "Difference") -> "Table":
    from rich.table import Table

    table = Table("", "", title=f"{found.before} to {found.after}", title_justify="left", box=None)
    unreadable = f", {found.unreadable:,} more are invalid" if found.unreadable else ""
    for name, value in (
        ("profiles", f"{found.profiles:,}{unreadable}"),
        ("overlap@5", f"{found.overlap_at_5:.3f}"),
        ("the same five, in order", f"{found.unchanged:.1%}"),
        ("rank shift of common movies", f"{found.rank_shift:.2f} places"),
        ("score shift", f"{found.score_shift:+.4f}"),
        ("catalogue coverage", f"{found.coverage[0]:.1%} to {found.coverage[1]:.1%}"),
    ):
        table.add_row(name, value)
    return table


def _lists(changed: "Changed") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    title = f"overlap {changed.overlap:.1f}: {json.dumps(changed.profile)}"
    table = Table("before", "score", "after", "score", title=escape(title), title_justify="left", box=None)
    for place in range(max(len(changed.before), len(changed.after))):
        cells = []
        for movie in (movies[place : place + 1] for movies in (changed.before, changed.after)):
            cells += [escape(movie[0].title), f"{movie[0].score:.4f}"] if movie else ["", ""]
        table.add_row(*cells)
    return table
