"""`marquee publish`: profile events from a file into Kafka."""

import json
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import MOST, AsJson, BootstrapServers, Prefix, Timeout, finite, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ops.traffic.sources import EventLine
    from producer.profiles import ProfilePublisher

# Events between two updates of the progress bar: one an event would cost more than publishing.
_REPORT_EVERY = 500


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("publish")(publish)


def publish(
    file: Annotated[
        Path,
        typer.Argument(help="JSON lines, or ml-1m's users.dat; - for standard input.", show_default=False),
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            help="Largest number of events a second. By default unlimited.", min=0.001, callback=finite
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Largest number of events.", min=1, max=MOST)] = None,
    validate: Annotated[
        bool,
        typer.Option(
            help="Stop before the first invalid line; --no-validate publishes every line unchanged, for instance to see a "
            "dead letter."
        ),
    ] = True,
    timeout: Timeout = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Publish profile events, one JSON object a line, and wait for their delivery.

    Every field may be missing: {"event_id": "a", "user_id": 42, "gender": "F", "age": 27, "occupation": 12,
    "recent": [1193, 661], "k": 5}

    Exit code 1 if a line is invalid (the lines before it are published), 2 if Kafka cannot be reached.
    """
    from ops.traffic.sources import event_lines, opened
    from producer.profiles import ProfilePublisher

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    started = time.monotonic()
    with opened(file) as lines, ProfilePublisher(settings, timeout_s=timeout) as publisher:
        name = "standard input" if lines is sys.stdin.buffer else str(file)
        events = islice(event_lines(lines, name, validate=validate), limit)
        total = None if lines is sys.stdin.buffer or limit else file.stat().st_size or None
        try:
            _publish_all(publisher, events, rate, total)
        except (MarqueeError, KeyboardInterrupt):
            _report(publisher, time.monotonic() - started, as_json)
            raise
    _report(publisher, time.monotonic() - started, as_json)


def _publish_all(
    publisher: "ProfilePublisher", events: Iterable["EventLine"], rate: float | None, total: int | None
) -> None:
    """Publish the lines up to the end or the first invalid one, and wait for their delivery."""
    started, read = time.monotonic(), 0
    with _progress() as progress:
        task = progress.add_task("publishing", total=total, rate="")
        try:
            for number, line in enumerate(events):
                if rate:
                    time.sleep(max(0.0, started + number / rate - time.monotonic()))
                publisher.publish(line.event, line.place)
                read += line.size
                if rate or number % _REPORT_EVERY == 0:
                    _show(progress, task, publisher, read, started)
        finally:
            publisher.flush()
            _show(progress, task, publisher, read, started)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _show(
    progress: "Progress", task: "TaskID", publisher: "ProfilePublisher", read: int, started: float
) -> None:
    delivered = publisher.counts.delivered
    per_second = delivered / max(time.monotonic() - started, 1e-3)
    progress.update(task, completed=read, rate=f"{delivered:,} delivered, {per_second:,.0f}/s")


def _report(publisher: "ProfilePublisher", seconds: float, as_json: bool) -> None:
    counts = publisher.counts
    per_second = counts.delivered / seconds
    if as_json:
        summary = {
            "topic": publisher.topic,
            "sent": counts.sent,
            "delivered": counts.delivered,
            "bytes": counts.bytes,
            "seconds": round(seconds, 3),
            "events_per_second": round(per_second, 1),
        }
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        f"{counts.delivered:,} of {counts.sent:,} events delivered to {publisher.topic} in {seconds:.1f} s "
        f"({per_second:,.0f}/s)",
        err=True,
    )
