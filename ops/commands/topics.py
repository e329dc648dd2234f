"""`marquee topics`: creates the deployment's topics and shows them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import LONGEST_S, AsJson, BootstrapServers, Prefix, finite, settings_with

if TYPE_CHECKING:
    from worker.kafka.topics import TopicState

_SHOWN = ("cleanup.policy", "message.timestamp.type", "max.message.bytes")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("topics")(topics)


def topics(
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; fail if something is missing.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Also set what breaks a promise on topics that are there.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for Kafka.", min=0.1, max=LONGEST_S, callback=finite)
    ] = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing, make the others fit, and show them all.

    A topic that is kept in another way than Marquee needs is named, with the remedy: its partitions, its cleanup policy, the
    clock of its timestamps, its largest record. --fix sets what can be set. Partitions cannot be taken away: the topic has to
    be made anew, and what is lost with it is said.

    With MARQUEE_REGISTRY__URL, also register the schemas of the records there (with --check, look them up).

    Exit code 2 where Kafka cannot be reached or refuses, where a topic's settings keep a process from its work, or, with
    --check, where a topic is missing.
    """
    from schemas import registry
    from worker.kafka.topic_checks import faults
    from worker.kafka.topics import ensure_topics, fix_topics, topic_states

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    if check:
        only_check = settings.kafka.model_copy(update={"create_topics": False})
        settings = settings.model_copy(update={"kafka": only_check})
    ensure_topics(settings, timeout)
    if settings.registry.url:
        (registry.check if check else registry.register)(settings)
    if fix:
        fix_topics(settings, timeout)
    states = topic_states(settings, timeout)
    found = faults(settings.names, {state.name: state for state in states})
    if as_json:
        rows = [
            {
                "topic": state.name,
                "partitions": state.partitions,
                "replicas": state.replicas,
                **{option: state.config.get(option) for option in _SHOWN},
            }
            for state in states
        ]
        typer.echo(json.dumps(rows))
    else:
        _show(states)
    for fault in found:
        typer.echo(f"{fault}", err=True)
    if any(fault.severity == "stops" for fault in found):
        raise typer.Exit(2)


def _show(states: "list[TopicState]") -> None:
    from rich.table import Table

    from ops.commands.printing import console

    table = Table("Topic", "Partitions", "Replicas", "Kept", "Timestamps", "Largest record", box=None)
    for state in states:
        table.add_row(
            state.name,
            str(state.partitions),
            str(state.replicas),
            *(state.config.get(option, "?") for option in _SHOWN),
        )
    console().print(table)
