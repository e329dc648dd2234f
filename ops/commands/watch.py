"""`marquee watch`: follows recommendations and dead letters."""

import os
import sys
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ops.commands.options import LONGEST_S, MOST, BootstrapServers, Prefix, finite, settings_with

if TYPE_CHECKING:
    from rich.table import Table

    from ops.traffic.follow import TimedEndings
    from producer.endings import Ending, EndingReader
    from schemas.settings import Settings

_WAIT_SECONDS = 0.25  # of a poll: the longest delay of the screen and of Ctrl-C
_SHOWN_TITLES = 3

Start = Literal["end", "beginning"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest record instead of the next.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="End after this number of records.", min=1, max=MOST)
    ] = None,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Also show dead letters, with their reasons.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for Kafka.", min=0.1, max=LONGEST_S, callback=finite)
    ] = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line; a recommendation as it is on the topic."),
    ] = False,
) -> None:
    """Follow recommendations as a live table, until Ctrl-C.

    Latency is from the event's timestamp to the broker's timestamp of its recommendation.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    start: Start = "beginning" if from_beginning else "end"
    follow = _print_lines if as_json else _draw
    try:
        follow(settings, start, timeout, limit, dead_letters)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # The reader of the pipe has ended. Python would raise again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _outcomes(
    reader: "EndingReader | TimedEndings", limit: int | None, dead_letters: bool
) -> Iterator[list["Ending"]]:
    """Yield batches, also empty ones, up to `limit` records."""
    from producer.endings import Result

    seen = 0
    while limit is None or seen < limit:
        wanted = (
            ending for ending in reader.endings(_WAIT_SECONDS) if dead_letters or isinstance(ending, Result)
        )
        batch = list(islice(wanted, None if limit is None else limit - seen))
        seen += len(batch)
        yield batch


def _print_lines(
    settings: "Settings", start: Start, timeout_s: float, limit: int | None, dead_letters: bool
) -> None:
    from producer.endings import EndingReader

    with EndingReader(settings, start=start, timeout_s=timeout_s) as reader:
        for batch in _outcomes(reader, limit, dead_letters):
            for ending in batch:
                sys.stdout.buffer.write(_line(ending, settings.names.profiles) + b"\n")
            sys.stdout.buffer.flush()


def _line(ending: "Ending", profiles: str) -> bytes:
    import orjson

    from producer.endings import Result

    if isinstance(ending, Result):
        return ending.value.replace(b"\n", b" ")  # in JSON a line break is only between tokens
    partition, offset = ending.source
    return orjson.dumps(
        {
            "reason": ending.reason,
            "error": ending.error,
            "failed_at": ending.failed_at,
            "source": {"topic": profiles, "partition": partition, "offset": offset},
        }
    )


def _draw(
    settings: "Settings", start: Start, timeout_s: float, limit: int | None, dead_letters: bool
) -> None:
    from rich.console import Console
    from rich.live import Live

    from ops.traffic.follow import TimedEndings

    console = Console()
    rows: deque[Ending] = deque(maxlen=max(5, console.height - 6) if console.is_terminal else limit or 10_000)
    count = 0
    with (
        TimedEndings(settings, start=start, timeout_s=timeout_s) as reader,
        Live(_table(reader, rows, count), console=console, auto_refresh=False) as live,
    ):
        for batch in _outcomes(reader, limit, dead_letters):
            rows.extend(batch)
            count += len(batch)
            live.update(_table(reader, rows, count), refresh=True)


def _table(reader: "TimedEndings", rows: "deque[Ending]", count: int) -> "Table":
    from rich.table import Table

    table = Table("Event", "User", "Movies", "Release", "Latency", box=None, expand=True)
    table.caption = f"{count:,} since the start"
    for ending in rows:
        latency = reader.latency_ms(ending)
        table.add_row(*_cells(ending), "" if latency is None else f"{latency} ms")
    return table


def _cells(ending: "Ending") -> tuple[str, str, str, str]:
    from rich.markup import escape

    from producer.endings import Result

    if not isinstance(ending, Result):
        partition, offset = ending.source
        return f"{partition}-{offset}", "", f"[red]{ending.reason}[/red]: {escape(ending.error)}", ""
    result = ending.recommendation
    titles = ", ".join(movie.title for movie in result.movies[:_SHOWN_TITLES])
    return escape(result.event_id), str(result.user_id or ""), escape(titles), result.release
