"""`marquee worker`, `marquee indexer` and `marquee outcomes-worker`: the processes of a deployment."""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ops.commands.options import BootstrapServers, Milvus, Port, Prefix, Store, settings_with
from schemas.errors import MarqueeError

if TYPE_CHECKING:
    from schemas.settings import Settings

log = logging.getLogger(__name__)

_REPAIRABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR})

Id = Annotated[
    str | None,
    typer.Option("--id", help="Name that survives a restart. By default the host name and a slot."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(worker)
    app.command()(indexer)
    app.command("outcomes-worker")(outcomes_worker)


def worker(
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    worker_id: Id = None,
    port: Port = None,
) -> None:
    """Answer profile events, exactly once, with the active release.

    Waits for Kafka, Milvus and an active release without a time limit; /health/ready names the part that is missing.
    SIGTERM commits the batches in flight and leaves the group. Every other setting is a MARQUEE_… variable.

    Exit codes: 0 stopped; 1 this machine has no room for a file, or denies access to one; 2 a setting is wrong, or Kafka
    or Milvus refused the credentials; 3 Kafka ended this process for good (fenced by its successor, or an event was
    removed before it was answered). After 1 and 3 a supervisor restarts it.
    """
    settings = settings_with(
        bootstrap_servers=bootstrap_servers,
        milvus=milvus,
        store=store,
        prefix=prefix,
        worker_id=worker_id,
        port=port,
    )
    from worker.main import run_worker

    _run(run_worker, settings)


def indexer(
    bootstrap_servers: BootstrapServers = None,
    milvus: Milvus = None,
    store: Store = None,
    prefix: Prefix = None,
    indexer_id: Id = None,
    port: Port = None,
) -> None:
    """Carry out release commands: build a collection, check it, activate it, and clean up.

    Any number may run; one is the leader and works. Waits for Kafka and Milvus without a time limit; /health/ready names
    the part that is missing. Every other setting is a MARQUEE_… variable.

    Exit codes: 0 stopped; 1 this machine has no room for a file, or denies access to one; 2 a setting is wrong, or Kafka
    or Milvus refused the credentials; 3 Kafka ended this process for good (fenced by its successor). After 1 and 3 a
    supervisor restarts it.
    """
    settings = settings_with(
        bootstrap_servers=bootstrap_servers,
        milvus=milvus,
        store=store,
        prefix=prefix,
        indexer_id=indexer_id,
        port=port,
    )
    from worker.main import run_indexer

    _run(run_indexer, settings)


def outcomes_worker(
    bootstrap_servers: BootstrapServers = None, prefix: Prefix = None, port: Port = None
) -> None:
    """Join recommendations with feedback, exactly once, and count outcomes by release, rank and segment.

    Your application writes to the topic `feedback` (see the contract); `marquee outcomes` shows the counts. Feedback
    counts for a day. Any number may run; one is the leader and works. Waits for Kafka without a time limit;
    /health/ready names the part that is missing. Invalid feedback becomes a dead letter.

    Exit codes: 0 stopped; 1 this machine has no room for a file, or denies access to one; 2 a setting is wrong, or Kafka
    refused the credentials; 3 Kafka ended this process for good (fenced by its successor). After 1 and 3 a supervisor
    restarts it.
    """
    settings = settings_with(bootstrap_servers=bootstrap_servers, prefix=prefix, port=port)
    from worker.main import run_outcomes

    _run(run_outcomes, settings)


def _run(process: "Callable[[Settings], None]", settings: "Settings") -> None:
    """Run a process until it is stopped, with its log lines on standard error."""
    from ops.deployment import logs
    from ops.deployment.settings import log_unread_variables

    logs.set_up(settings.log)
    log_unread_variables()
    check_schemas(settings)
    with long_running():
        process(settings)


def check_schemas(settings: "Settings") -> None:
    """Look up the schemas of this version's records, if a registry is set. A process starts without one that is away.

    Raises:
        SettingsError, MarqueeError: the registry refuses the credentials, or lacks a schema.
    """
    if settings.registry.url is None:
        return
    from schemas import registry
    from schemas.errors import UnreachableError

    try:
        registry.check(settings)
    except UnreachableError as error:
        log.warning("started without a check of the schemas: %s", error)


class MachineError(MarqueeError):
    """A file or folder of this machine cannot be used: the process ends, and its supervisor restarts it."""


def is_of_this_machine(error: OSError) -> bool:
    """Whether a folder cannot be written, or the disk is full."""
    no_temporary = isinstance(error, FileNotFoundError) and "temporary directory" in str(error)
    return no_temporary or error.errno in _REPAIRABLE


def in_words(error: OSError) -> str:
    """Describe such an error in a sentence."""
    return f"{error}; a file or folder here cannot be used as it is"


@contextmanager
def long_running() -> Iterator[None]:
    """Convert file errors of this machine in a process that runs until it is stopped.

    Exit code 2 is for wrong settings and refused credentials alone, so that a full disk ends such a process with 1.

    Raises:
        MachineError: in place of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if not is_of_this_machine(error):
            raise
        raise MachineError(in_words(error)) from error
