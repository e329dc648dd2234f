"""The `marquee` command: finds the command's module, and turns errors into one sentence and an exit code."""

import importlib
import logging
import sys

import typer

from ops.commands.processes import in_words, is_of_this_machine
from schemas.errors import MarqueeError, SettingsError

# Command modules, in the order in which `marquee --help` shows them; each has `register(app)`.
COMMANDS = (
    "up",
    "processes",
    "outcomes",
    "publish",
    "recommend",
    "watch",
    "dead_letters",
    "releases",
    "release",
    "diff",
    "replay",
    "status",
    "data",
    "train",
    "movies",
    "evaluate",
    "explain",
    "verify",
    "topics",
    "doctor",
    "demo",
    "moved",
)


def build_app() -> typer.Typer:
    """Build the application; heavy imports (Paddle, Milvus) wait inside the commands."""
    app = typer.Typer(
        name="marquee",
        help="A streaming movie recommender: profile events in through Kafka, movie lists out, exactly once.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # joins the lines of a docstring
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in COMMANDS:
        importlib.import_module(f"ops.commands.{name}").register(app)
    return app


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 failed, 2 wrong use or unreachable, 3 fatal Kafka error, 130 interrupted."""
    # A command prints its own lines; `marquee worker` and the other processes set up logging.
    logging.getLogger("worker").setLevel(logging.WARNING)
    try:
        build_app()()
    except MarqueeError as error:
        print(f"marquee: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # during the imports; Typer handles it later
        sys.exit(130)
    except OSError as error:
        if not is_of_this_machine(error):
            raise
        logging.getLogger(__name__).debug("ended by", exc_info=error)
        print(f"marquee: {in_words(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(SettingsError.exit_code)
    except Exception as error:
        if not _is_refused_option(error):
            raise
        sentence = f"the Kafka client refuses its settings ({error.args[0].str()}); check the MARQUEE_KAFKA__… settings"
        print(f"marquee: {sentence}", file=sys.stderr)  # noqa: T201
        sys.exit(SettingsError.exit_code)


def _is_refused_option(error: Exception) -> bool:
    """Whether librdkafka refused to create a client, because of an option or the file of an option."""
    from confluent_kafka import KafkaError, KafkaException

    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError._INVALID_ARG
