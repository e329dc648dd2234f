"""`marquee dead-letters`: list and show dead letters, and publish their events again."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import (
    LONGEST_S,
    AsJson,
    BootstrapServers,
    Prefix,
    finite,
    moment,
    settings_with,
)
from schemas.dead_letter import REASONS
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from producer.dead_letters import Letter, Selection
    from schemas.settings import Settings

Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", help=f"Only this reason; may be repeated: {', '.join(REASONS)}."),
]
Releases = Annotated[
    list[str] | None,
    typer.Option("--release", help="Only letters that failed under this release; may be repeated."),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=moment, metavar="TIME", help="Only since then: ISO 8601 (UTC), or ago: 90m, 24h, 7d."
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="TIME", help="Only before then, in the form of --since."),
]
Timeout = Annotated[
    float, typer.Option(help="Seconds to wait for Kafka.", min=0.1, max=LONGEST_S, callback=finite)
]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    group = typer.Typer(
        name="dead-letters",
        help="List, show and redrive dead letters. They contain profiles of people.",
        no_args_is_help=True,
    )
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(redrive)
    app.add_typer(group)


def list_letters(
    reason: Reasons = None,
    release: Releases = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="Largest number of letters to show.", min=1)] = 1_000,
    timeout: Timeout = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dead letters by place, with reason, error, release, and the time of their redrive."""
    from producer.dead_letters import letters

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    found = letters(settings, _selection(settings, (), reason, release, since, until), timeout)
    shown = islice(found, limit)
    if as_json:
        for letter in shown:
            typer.echo(json.dumps(_summary(letter)))
    else:
        _print_table(shown)
    if next(found, None) is not None:
        typer.echo(f"There are more than {limit:,}: a larger --limit shows them.", err=True)


def show(
    place: Annotated[str, typer.Argument(help="Place, as in `list`; partition-offset is enough.")],
    raw: Annotated[bool, typer.Option("--raw", help="Write only the bytes of the event.")] = False,
    timeout: Timeout = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: reason and error, and the event's key, headers and bytes."""
    from producer.dead_letters import letters

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    selection = _selection(settings, (place,), None, None, None, None)
    letter = next(letters(settings, selection, timeout), None)
    if letter is None:
        raise _no_letter(selection.places)
    if raw:
        sys.stdout.buffer.write(letter.dead.value or b"")
        return
    shown = _summary(letter) | {
        "key": _text(letter.dead.key),
        "headers": [
            [name, _text(value.encode() if isinstance(value, str) else value)]
            for name, value in letter.headers
        ],
        "value": _text(letter.dead.value),
    }
    if as_json:
        if letter.dead.value is not None:
            shown["value_base64"] = base64.b64encode(letter.dead.value).decode()
        typer.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        typer.echo(f"{name:<12}{'' if value is None else value}")


def redrive(
    places: Annotated[
        list[str] | None, typer.Argument(help="Places, as in `list`; partition-offset is enough.")
    ] = None,
    reason: Reasons = None,
    release: Releases = None,
    since: Since = None,
    until: Until = None,
    everything: Annotated[bool, typer.Option("--all", help="All letters, without a filter.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the events that would be published; publish nothing.")
    ] = False,
    timeout: Timeout = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Publish the events of dead letters again, each exactly once: as new events, with their key, bytes and headers.

    A letter that was redriven before is left out, also if that redrive was killed or still runs.

    `crashed` events are left out too, unless --reason crashed or their place selects them: workers ended at such an
    event, and it may end them again.
    """
    from producer.dead_letters import Redriven, Redriver

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    selection = _selection(settings, tuple(places or ()), reason, release, since, until)
    if not everything and not any((places, reason, release, since, until)):
        raise typer.BadParameter(
            "select letters by place, --reason, --release, --since or --until, or --all of them"
        )
    if dry_run:
        _print_dry_run(settings, selection, timeout, as_json)
        return
    done = Redriven()
    for done in Redriver(settings, timeout).redrive(selection):
        if sys.stderr.isatty():
            typer.echo(f"\r{done.published:,} published", err=True, nl=False)
    if as_json:
        typer.echo(json.dumps({"published": done.published, "lost": done.lost, "crashed": done.crashed}))
    else:
        typer.echo(f"{_events(done.published)} published again to {settings.names.profiles}.")
    _explain(done.lost, done.crashed)


def _print_dry_run(settings: "Settings", selection: "Selection", timeout: float, as_json: bool) -> None:
    from producer.dead_letters import Split, letters

    fresh = [letter for letter in letters(settings, selection, timeout) if letter.redriven_at is None]
    split = Split.of(fresh, selection)
    if as_json:
        places = [letter.place for letter in split.wanted]
        shown = {"would_publish": len(places), "places": places, "lost": split.lost, "crashed": split.crashed}
        typer.echo(json.dumps(shown))
    else:
        _print_table(iter(split.wanted))
        typer.echo(f"{_events(len(split.wanted))} would be published again to {settings.names.profiles}.")
    _explain(split.lost, split.crashed)


def _events(number: int) -> str:
    return f"{number:,} event" if number == 1 else f"{number:,} events"


def _explain(lost: list[str], crashed: list[str]) -> None:
    """Print the places that were left out, and why."""
    if lost:
        typer.echo(
            f"{len(lost):,} cannot be redriven, because their bytes did not fit a topic and are lost: {', '.join(lost[:10])}",
            err=True,
        )
    if crashed:
        typer.echo(
            f"{len(crashed):,} left out, because workers ended at them: {', '.join(crashed[:10])}; --reason crashed or a "
            "place redrives them",
            err=True,
        )


def _selection(
    settings: "Settings",
    places: tuple[str, ...],
    reasons: list[str] | None,
    releases: list[str] | None,
    since: datetime | None,
    until: datetime | None,
) -> "Selection":
    from producer.dead_letters import Selection

    unknown = set(reasons or ()) - set(REASONS)
    if unknown:
        raise typer.BadParameter(f"no such reason: {', '.join(unknown)}; there are {', '.join(REASONS)}")
    topic = settings.names.dead_letters
    return Selection(
        frozenset(place if place.startswith(topic) else f"{topic}-{place}" for place in places),
        frozenset(reasons or ()),
        frozenset(releases or ()),
        since,
        until,
    )


def _no_letter(places: frozenset[str]) -> MarqueeError:
    return MarqueeError(
        f"there is no dead letter at {', '.join(places)}; `marquee dead-letters list` shows all"
    )


def _summary(letter: "Letter") -> dict[str, object]:
    """Summarize a letter without its event."""
    dead = letter.dead
    return {
        "place": letter.place,
        "reason": dead.reason,
        "error": dead.error,
        "source": "-".join(map(str, dead.source)),
        "release": dead.release,
        "failed_at": dead.failed_at,
        "at": datetime.fromtimestamp(dead.timestamp_ms / 1_000, UTC).isoformat(timespec="milliseconds"),
        "bytes": None if dead.value is None else len(dead.value),
        "redriven_at": letter.redriven_at and letter.redriven_at.isoformat(timespec="milliseconds"),
    }


def _print_table(letters: "Iterator[Letter]") -> None:
    from rich.markup import escape
    from rich.table import Table

    from ops.commands.printing import console

    table = Table("Place", "At", "Reason", "Error", "Release", "Redriven", box=None)
    for letter in letters:
        at = datetime.fromtimestamp(letter.dead.timestamp_ms / 1_000, UTC)
        table.add_row(
            letter.place,
            f"{at:%Y-%m-%d %H:%M:%S}",
            letter.dead.reason,
            escape(letter.dead.error),
            letter.dead.release or "",
            f"{letter.redriven_at:%Y-%m-%d %H:%M:%S}" if letter.redriven_at else "",
        )
    if table.row_count:
        console().print(table)
    else:
        typer.echo("No dead letters.")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")
