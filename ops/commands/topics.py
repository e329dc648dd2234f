"""`marquee topics`: creates the deployment's topics and shows them."""

import json
from typing import Annotated

import typer

from ops.options import AsJson, BootstrapServers, Prefix, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("topics")(topics)


def topics(
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; fail if something is missing.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for Kafka.", min=0.1)] = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing, make the others fit, and show them all.

    With MARQUEE_REGISTRY__URL, also register the schemas of the records there (with --check, look them up).

    Exit code 2 where Kafka cannot be reached or refuses, or, with --check, where a topic is missing.
    """
    from rich.table import Table

    from ops.printing import console
    from schemas import registry
    from worker.topics import ensure_topics, topic_states

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    if check:
        only_check = settings.kafka.model_copy(update={"create_topics": False})
        settings = settings.model_copy(update={"kafka": only_check})
    ensure_topics(settings, timeout)
    if settings.registry.url:
        (registry.check if check else registry.register)(settings)
    states = topic_states(settings, timeout)
    shown = ("cleanup.policy", "message.timestamp.type", "max.message.bytes")
    if as_json:
        rows = [
            {
                "topic": state.name,
                "partitions": state.partitions,
                "replicas": state.replicas,
                **{option: state.config[option] for option in shown},
            }
            for state in states
        ]
        typer.echo(json.dumps(rows))
        return
    table = Table("Topic", "Partitions", "Replicas", "Kept", "Timestamps", "Largest record", box=None)
    for state in states:
        table.add_row(
            state.name,
            str(state.partitions),
            str(state.replicas),
            *(state.config[option] for option in shown),
        )
    console().print(table)
