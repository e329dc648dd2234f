"""`marquee recommend`: one profile through Kafka, and its result."""

import json
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from ops.commands.options import (
    LONGEST_S,
    Age,
    AsJson,
    BootstrapServers,
    GenderCode,
    Job,
    K,
    Milvus,
    Prefix,
    Recent,
    Store,
    User,
    finite,
    movie_ids,
    profile_with,
    settings_with,
)
from ops.data.seed_codes import table
from schemas.profile import DEFAULT_K

if TYPE_CHECKING:
    from schemas.settings import Settings

_HELP = f"""Publish one profile, and print the recommendation.

The codes are those of the seed, the bootcamp's recommender. A field without an option is unknown to the model.

{table()}

Exit code 1 if no result comes within --timeout, or the event becomes a dead letter.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("recommend", help=_HELP)(recommend)


def recommend(
    age: Age = None,
    gender: GenderCode = None,
    job: Job = None,
    user: User = None,
    recent: Recent = None,
    k: K = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Instead of a profile: movies similar to these, as in 1,3114, by the active release's vectors, without Kafka events.",
            show_default=False,
        ),
    ] = None,
    infer: Annotated[
        bool,
        typer.Option("-i", "--infer", help="First embed, index and activate the newest release."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for the result.", min=0.1, max=LONGEST_S, callback=finite)
    ] = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    milvus: Milvus = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Publish one profile, and print the recommendation."""
    from ops.commands.printing import movie_table
    from ops.traffic.ask import ask

    if like is not None:
        if any(given is not None for given in (age, gender, job, user, recent)) or infer:
            raise typer.BadParameter("only -k can be combined with it", param_hint="--like")
        settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, store=store)
        _show_similar(settings, movie_ids(like), k or DEFAULT_K, timeout, as_json)
        return
    event_id = f"recommend-{uuid4().hex}"
    profile = profile_with(age=age, gender=gender, job=job, user=user, recent=recent, k=k, event_id=event_id)
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, milvus=milvus, store=store)
    if infer:
        from ops.deployment.indexing import index, newest

        index(settings, newest(settings))
    result, latency_ms = ask(settings, profile, timeout, _cause_of_silence)
    if as_json:
        typer.echo(result.value)
        return
    recommendation = result.recommendation
    typer.echo(movie_table(recommendation.movies))
    typer.echo(
        f"release {recommendation.release}, retrieval {recommendation.retrieval}, {latency_ms} ms", err=True
    )


def _cause_of_silence(settings: "Settings") -> str:
    # Imported only now: it loads Paddle, for which a result need not wait.
    from ops.deployment.overview import cause_of_silence

    return cause_of_silence(settings)


def _show_similar(settings: "Settings", like: list[int], k: int, timeout: float, as_json: bool) -> None:
    from ops.commands.printing import movie_table
    from ops.offline.similar import similar_movies

    if not like:
        raise typer.BadParameter("no movie id", param_hint="--like")
    release, movies = similar_movies(settings, like, k, timeout)
    if as_json:
        found = [movie.model_dump(exclude_none=True) for movie in movies]
        typer.echo(json.dumps({"like": like, "release": release, "movies": found}))
        return
    typer.echo(movie_table(movies))
    typer.echo(f"release {release}, cosine", err=True)
