"""A whole deployment on one machine, in the foreground: Kafka, Milvus and Marquee's processes, restarted when they end."""

import fcntl
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops.local.kafka import LocalKafka
from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
from ops.local.ports import is_free, kept_ports
from ops.local.process import ChildProcess, LocalError, Supervisor
from schemas.settings import HttpSettings, KafkaSettings, MilvusSettings, Settings

MilvusKind = Literal["lite", "standalone"]

OUTCOMES_WORKER = "outcomes-worker"
UP_FILE = "up.json"
# Ports of the default settings.
KAFKA_PORT, MILVUS_PORT = 9_092, 19_530
LOCK_FILE = "up.lock"
PORTS_FILE = "ports.json"
TOPICS_TIMEOUT_S = 60.0
CHECK_EVERY_S = 0.2
log = logging.getLogger(__name__)

# Time after stop_timeout_s in which a worker closes Kafka and Milvus, and Python ends.
STOP_MARGIN_S = 5.0


@dataclass(frozen=True)
class Plan:
    """The servers and processes to run, and their folder."""

    directory: Path
    nodes: int = 1
    milvus: MilvusKind = "lite"
    workers: int = 1


@dataclass(frozen=True)
class Running:
    """A child, and the port of its /metrics and /health, if it has any."""

    child: ChildProcess
    http_port: int | None = None


class Up:
    """The deployment that `marquee up` runs.

    If `kafka.bootstrap_servers` or `milvus.uri` is set, it uses that server and starts none.
    """

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.directory = plan.directory.absolute()
        self.plan = plan
        self.kafka = (
            None
            if uses_other_kafka(settings)
            else LocalKafka(self.directory / "kafka", nodes=plan.nodes, port=usual_port(KAFKA_PORT))
        )
        self.milvus = None if uses_other_milvus(settings) else _local_milvus(self.directory, plan.milvus)
        self.settings = _settings_here(settings, self.kafka, self.milvus)
        workers = (f"worker-{number}" for number in range(1, plan.workers + 1))
        names = ["indexer", *workers, OUTCOMES_WORKER]
        first_port = usual_port(HttpSettings().port)
        ports = kept_ports(
            self.directory / PORTS_FILE, names, {"worker-1": first_port} if first_port else None
        )
        self.roles = [Running(self._role(name, ports[name]), ports[name]) for name in names]

    @property
    def running(self) -> list[Running]:
        """List the children, in the order of their start."""
        servers = [
            *(self.kafka.processes if self.kafka else ()),
            *([self.milvus.process] if self.milvus else ()),
        ]
        return [*(Running(server) for server in servers), *self.roles]

    def start(self) -> None:
        """Start servers and processes, and write `up.json` once all run and the topics exist.

        Workers may not be ready then: they wait for an active release.

        Raises:
            LocalError: a server does not start.
            UnreachableError, SettingsError: a server of the settings cannot be reached, or refuses the credentials.
        """
        from worker.kafka.topics import ensure_topics

        self._up_file.unlink(missing_ok=True)
        # Step 1. Start the servers.
        if self.kafka:
            self.kafka.start()
        if self.milvus:
            self.milvus.start()
        # Step 2. Create the topics, so that commands can publish as soon as up.json exists.
        ensure_topics(self.settings, TOPICS_TIMEOUT_S)
        # Step 3. Start the processes.
        for role in self.roles:
            role.child.start()
        self.write()

    def supervise(self, is_over: Callable[[], bool]) -> None:
        """Restart children that end, until `is_over()` or an exception such as KeyboardInterrupt."""
        supervisor = Supervisor([running.child for running in self.running], on_start=self.write)
        while not is_over():
            supervisor.check()
            self._end_nodes_without_groups()
            time.sleep(CHECK_EVERY_S)

    def _end_nodes_without_groups(self) -> None:
        """End each Kafka node that restarted without its groups: workers would wait for good. Its next start loads them."""
        if self.kafka is None:
            return
        for node in self.kafka.nodes:
            if self.kafka.has_lost_groups(node.id):
                name = self.kafka.process(node.id).name
                log.warning("%s restarted without its consumer groups, a fault of Kafka; ending it", name)
                self.kafka.end(node.id)

    def stop(self) -> None:
        """Stop processes before the servers that they use."""
        self._up_file.unlink(missing_ok=True)
        indexer, *workers = (role.child for role in self.roles)
        # Step 1. Stop workers and outcomes worker at the same time: each commits its batches and leaves the group.
        for worker in workers:
            worker.terminate()
        timeout_s = self.settings.worker.stop_timeout_s + STOP_MARGIN_S
        for worker in workers:
            worker.stop(timeout_s)
        # Step 2. Stop the indexer.
        indexer.stop(timeout_s)
        # Step 3. Stop the servers.
        if self.milvus:
            self.milvus.stop()
        if self.kafka:
            self.kafka.stop()

    def exports(self) -> list[str]:
        """Format the variables with which commands find this deployment; none where the defaults fit."""
        here, default = self.settings, Settings.model_construct()
        said = {
            "PREFIX": (here.prefix, default.prefix),
            "KAFKA__BOOTSTRAP_SERVERS": (here.kafka.bootstrap_servers, default.kafka.bootstrap_servers),
            "MILVUS__URI": (here.milvus.uri, default.milvus.uri),
            "STORE": (here.store, str(Path(default.store).absolute())),
        }
        return [
            f"export MARQUEE_{name}={shlex.quote(value)}"
            for name, (value, usual) in said.items()
            if value != usual
        ]

    def write(self) -> None:
        """Write `up.json` atomically; `pid` is null for a child that does not run at that moment."""
        content = {
            "bootstrap_servers": self.settings.kafka.bootstrap_servers,
            "milvus_uri": self.settings.milvus.uri,
            "store": self.settings.store,
            "processes": [
                {"name": running.child.name, "pid": running.child.pid, "http_port": running.http_port}
                for running in self.running
            ],
        }
        draft = self._up_file.with_suffix(".tmp")
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.replace(self._up_file)

    @property
    def _up_file(self) -> Path:
        return self.directory / UP_FILE

    def _role(self, name: str, port: int) -> ChildProcess:
        role, _, number = name.rpartition("-")
        role = role if number.isdigit() else name
        environment = {
            "MARQUEE_PREFIX": self.settings.prefix,
            "MARQUEE_STORE": self.settings.store,
            "MARQUEE_KAFKA__BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "MARQUEE_MILVUS__URI": self.settings.milvus.uri,
            "MARQUEE_HTTP__PORT": str(port),
        }
        if role != OUTCOMES_WORKER:  # its id belongs to the deployment
            environment[f"MARQUEE_{role.upper()}__ID"] = name
        command = [sys.executable, "-m", "ops", role]
        return ChildProcess(name, command, log=self.directory / f"{name}.log", environment=environment)


def usual_port(port: int) -> int | None:
    """Return a default port if it is free, so that commands need no settings; else None."""
    return port if is_free(port) else None


def uses_other_kafka(settings: Settings) -> bool:
    """Whether a cluster is set, even at the default address."""
    is_set = "MARQUEE_KAFKA__BOOTSTRAP_SERVERS" in os.environ
    return is_set or settings.kafka.bootstrap_servers != KafkaSettings().bootstrap_servers


def uses_other_milvus(settings: Settings) -> bool:
    """Whether a Milvus server is set, even at the default address."""
    return "MARQUEE_MILVUS__URI" in os.environ or settings.milvus.uri != MilvusSettings().uri


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a folder against other deployments. The lock ends with this process, even after kill -9.

    Raises:
        LocalError: a deployment runs in it, or the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK_FILE).open("a")
    except OSError as error:
        raise LocalError(f"{directory} cannot be used: {error}; choose another folder with --dir.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"`marquee up` runs in {directory} already; end it, or choose another folder with --dir."
            ) from None
        yield


def _local_milvus(directory: Path, kind: MilvusKind) -> LocalMilvus:
    server = MilvusLite if kind == "lite" else MilvusStandalone
    return server(directory / f"milvus-{kind}", usual_port(MILVUS_PORT))


def _settings_here(settings: Settings, kafka: LocalKafka | None, milvus: LocalMilvus | None) -> Settings:
    """Return the settings with the servers started here, and the store's absolute path."""
    update: dict[str, object] = {}
    if kafka:
        update["kafka"] = settings.kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
    if milvus:
        update["milvus"] = settings.milvus.model_copy(update={"uri": milvus.uri})
    if "://" not in settings.store:
        update["store"] = str(Path(settings.store).absolute())
    return settings.model_copy(update=update)
