"""`marquee explain`: the inputs of an event that each recommended movie is due to."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import (
    Age,
    AsJson,
    GenderCode,
    Job,
    K,
    Recent,
    Store,
    User,
    profile_with,
    settings_with,
)
from ops.data.seed_codes import table
from schemas.errors import MarqueeError
from schemas.profile import ProfileEvent
from worker.events import Rejection, decode

if TYPE_CHECKING:
    from ops.offline.explain import Explanation, Pull

_HELP = f"""Show the inputs of an event, of its history and its profile, that pulled each recommended movie into the list.

Each input is left out once; its pull is the score that is lost without it. The event is JSON, as an application publishes
it, or - for standard input; or the options of `marquee recommend` describe it:

{table()}

Needs the store alone, neither Kafka nor Milvus.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain", help=_HELP)(explain)


def explain(
    event: Annotated[
        str | None, typer.Argument(help="A profile event, JSON; - reads it from standard input.")
    ] = None,
    age: Age = None,
    gender: GenderCode = None,
    job: Job = None,
    user: User = None,
    recent: Recent = None,
    k: K = None,
    pulls: Annotated[int, typer.Option(help="Number of pulls to show for each movie.", min=1)] = 3,
    release: Annotated[
        str | None, typer.Option(help="A release of the store. By default the newest.", show_default=False)
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Explain one list."""
    profile = (
        _read(event)
        if event is not None
        else profile_with(age=age, gender=gender, job=job, user=user, recent=recent, k=k)
    )
    from ops.deployment.indexing import newest
    from ops.offline.explain import explain as explain_event
    from ops.offline.release import OfflineRelease

    settings = settings_with(store=store)
    name = release or newest(settings)
    explained = explain_event(OfflineRelease(settings, name), profile)
    if as_json:
        typer.echo(json.dumps({"release": name, "movies": [asdict(each) for each in explained]}))
        return
    _show(explained, pulls)
    typer.echo(f"release {name}", err=True)


def _read(text: str) -> ProfileEvent:
    """Decode an event as the worker does."""
    import sys

    decoded = decode(sys.stdin.buffer.read() if text == "-" else text.encode())
    if isinstance(decoded, Rejection):
        raise MarqueeError(f"no profile event, {decoded.reason}: {decoded.error}")
    return decoded


def _show(explained: "list[Explanation]", pulls: int) -> None:
    from rich.table import Table

    from ops.commands.printing import console

    shown = Table("Top", "Title", "Score", "pulled there by", "pushed away by")
    for place, each in enumerate(explained):
        toward = [pull for pull in each.pulls if pull.score > 0][:pulls]
        away = [pull for pull in reversed(each.pulls) if pull.score < 0][:1]
        shown.add_row(str(place), each.title, f"{each.score:.6f}", _text(toward), _text(away))
    console().print(shown)


def _text(pulls: "list[Pull]") -> str:
    return "\n".join(f"{pull.score:+.3f} {pull.what}" for pull in pulls) or "nothing"
