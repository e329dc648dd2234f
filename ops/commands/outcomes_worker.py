"""`marquee outcomes-worker`: counts what people did with their recommendations, until it is stopped."""

import typer

from ops.commands.options import BootstrapServers, Port, Prefix, settings_with


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("outcomes-worker")(outcomes_worker)


def outcomes_worker(
    bootstrap_servers: BootstrapServers = None, prefix: Prefix = None, port: Port = None
) -> None:
    """Join recommendations with feedback, exactly once, and count what became of them by release, rank and segment.

    Your application writes to the topic `feedback` what people did (see the contract); `marquee outcomes` shows the counts.
    Feedback counts for a day. Any number may run; one at a time works. Waits for Kafka for as long as it takes, and says at
    /health/ready what it waits for. What cannot be read becomes a dead letter.

    Exit codes: 0 stopped; 1 this machine has no room or no right for a file; 2 a wrong setting, or Kafka refused who we are;
    3 Kafka ended this process for good (fenced by its successor). After 1 and 3 a supervisor restarts it.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, port=port)
    from ops.deployment import logs
    from ops.deployment.disk import long_running
    from ops.deployment.schema_check import check_schemas
    from ops.deployment.settings import log_unread_variables
    from worker.run_outcomes import run_outcomes

    logs.set_up(settings.log)
    log_unread_variables()
    check_schemas(settings)
    with long_running():
        run_outcomes(settings)
