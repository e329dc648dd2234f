"""`marquee acls`: the rights of each role on Kafka, as commands."""

from typing import Annotated

import typer

from ops.commands.options import BootstrapServers, Prefix, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("acls")(acls)


def acls(
    role: Annotated[
        list[str] | None,
        typer.Argument(help="worker, indexer, outcomes, producer, reader, admin; all where none is named."),
    ] = None,
    principal: Annotated[
        str, typer.Option(help="Who is given the rights; {role} stands for the role's name.")
    ] = "User:{role}",
    command_config: Annotated[
        str, typer.Option(help="Kafka's properties file with which the commands reach the cluster.")
    ] = "admin.properties",
    bootstrap_servers: BootstrapServers = None,
    prefix: Prefix = None,
) -> None:
    """Print the `kafka-acls.sh` commands that give each role the rights that it needs, and no others.

    Only the admin may create topics: have it run `marquee topics`, and set MARQUEE_KAFKA__CREATE_TOPICS=false for worker,
    indexer and outcomes worker. The producer runs publish, the reader watch; every other command is the admin's.
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
