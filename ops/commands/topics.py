"""`marquee topics` and `marquee acls`: the topics of a deployment, and the rights of each role on them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import LONGEST_S, AsJson, BootstrapServers, Prefix, finite, settings_with

if TYPE_CHECKING:
    from worker.kafka.cluster import TopicState

_SHOWN = ("cleanup.policy", "message.timestamp.type", "max.message.bytes")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(topics)
    app.command()(acls)


def topics(
    check: Annotated[
        bool, typer.Option("--check", help="Create nothing; fail if a topic is missing.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Also correct settings of existing topics that break a promise.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for Kafka.", min=0.1, max=LONGEST_S, callback=finite)
    ] = 30.0,
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing, grow those that need it, and show all.

    Names each topic whose partitions, cleanup policy, timestamp type or record limit is not the one that Marquee needs,
    with the remedy. --fix corrects all but partitions, which Kafka cannot remove: delete and create the topic again; the
    remedy contains the loss.

    With MARQUEE_REGISTRY__URL, also register the schemas of the records there (with --check, look them up).

    Exit code 2 if Kafka cannot be reached or refuses, if a topic's settings keep a process from its work, or, with
    --check, if a topic is missing.
    """
    from schemas import registry
    from worker.kafka.faults import faults
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
    _show(states, as_json)
    found = faults(settings.names, {state.name: state for state in states})
    for fault in found:
        typer.echo(f"{fault}", err=True)
    if any(fault.severity == "stops" for fault in found):
        raise typer.Exit(2)


def _show(states: "list[TopicState]", as_json: bool) -> None:
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
        return
    from rich.table import Table

    from ops.commands.printing import console

    table = Table("Topic", "Partitions", "Replicas", "Kept", "Timestamps", "Largest record", box=None)
    for state in states:
        kept = (state.config.get(option, "?") for option in _SHOWN)
        table.add_row(state.name, str(state.partitions), str(state.replicas), *kept)
    console().print(table)


def acls(
    role: Annotated[
        list[str] | None,
        typer.Argument(help="worker, indexer, outcomes, producer, reader or admin. By default all."),
    ] = None,
    principal: Annotated[
        str, typer.Option(help="Principal that gets the rights; {role} is replaced by the role's name.")
    ] = "User:{role}",
    command_config: Annotated[
        str, typer.Option(help="Kafka's properties file with which the commands reach the cluster.")
    ] = "admin.properties",
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
) -> None:
    """Print the `kafka-acls.sh` commands that give each role the rights that it needs, and no others.

    Only the admin may create topics: have it run `marquee topics`, and set MARQUEE_KAFKA__CREATE_TOPICS=false for worker,
    indexer and outcomes worker. The producer runs publish, the reader watch; the admin runs every other command.
    """
    from ops.deployment.acls import ROLES, commands

    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix)
    wanted = role or list(ROLES)
    unknown = set(wanted) - set(ROLES)
    if unknown:
        raise typer.BadParameter(f"no such role: {', '.join(sorted(unknown))}; there are {', '.join(ROLES)}")
    arguments = f"--bootstrap-server {settings.kafka.bootstrap_servers} --command-config {command_config}"
    for name in ROLES:
        if name in wanted:
            for command in commands(name, settings.names, principal.replace("{role}", name), arguments):
                typer.echo(command)
