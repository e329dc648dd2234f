"""Marquee on one machine, in the foreground: Kafka, Milvus and our own processes, started again when they die."""

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
from ops.local.process import ChildProcess, LocalError
from ops.local.supervisor import Supervisor
from schemas.settings import HttpSettings, KafkaSettings, MilvusSettings, Settings

MilvusKind = Literal["lite", "standalone"]

OUTCOMES_WORKER = "outcomes-worker"
UP_FILE = "up.json"
# Of the settings' defaults.
KAFKA_PORT, MILVUS_PORT = 9_092, 19_530
LOCK_FILE = "up.lock"
PORTS_FILE = "ports.json"
TOPICS_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2
logger = logging.getLogger(__name__)

# Beyond its own stop_timeout_s, for what a worker does after it: close Kafka and Milvus, and leave Python.
STOP_MARGIN_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What to run, and where."""

    directory: Path
    nodes: int = 1
    milvus: MilvusKind = "lite"
    workers: int = 1


@dataclass(frozen=True)
class Running:
    """A child, and the port of its /metrics and /health, if it has one."""

    child: ChildProcess
    http_port: int | None = None


class Up:
    """Everything that `marquee up` runs, from its start to its end.

    Where `kafka.bootstrap_servers` or `milvus.uri` is set, that server is used and none is started.
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
        """Every child, in the order of their start."""
        servers = [
            *(self.kafka.processes if self.kafka else ()),
            *([self.milvus.process] if self.milvus else ()),
        ]
        return [*(Running(server) for server in servers), *self.roles]

    def start(self) -> None:
        """Start everything, and write `up.json` when all of it runs and the topics exist.

        Workers may not be ready then: they wait for an active release.

        Raises:
            LocalError: a server does not come up.
            UnreachableError, SettingsError: a server that was named cannot be reached, or refuses us.
        """
        from worker.kafka.topics import ensure_topics

        self._up_file.unlink(missing_ok=True)
        # 1. The servers.
        if self.kafka:
            self.kafka.start()
        if self.milvus:
            self.milvus.start()
        # 2. The topics, so that whoever reads up.json can publish at once.
        ensure_topics(self.settings, TOPICS_TIMEOUT_S)
        # 3. Who works on them.
        for role in self.roles:
            role.child.start()
        self.write()

    def supervise(self, is_over: Callable[[], bool]) -> None:
        """Start again whoever dies, until it is over or an exception (KeyboardInterrupt) ends it."""
        supervisor = Supervisor([running.child for running in self.running], on_start=self.write)
        while not is_over():
            supervisor.look()
            self._end_who_lost_groups()
            time.sleep(LOOK_EVERY_S)

    def _end_who_lost_groups(self) -> None:
        """A Kafka node that came back without its groups would keep workers waiting for good; it is whole when started anew."""
        if self.kafka is None:
            return
        for node in self.kafka.nodes:
            if self.kafka.has_lost_groups(node.id):
                name = self.kafka.process(node.id).name
                logger.warning(
                    "%s came back without its consumer groups, as Kafka now and then does; ending it", name
                )
                self.kafka.end(node.id)

    def stop(self) -> None:
        """End everything, those first who need the others."""
        self._up_file.unlink(missing_ok=True)
        indexer, *workers = (role.child for role in self.roles)
        # 1. Workers of both kinds, all at once: each commits what is in flight and leaves the group.
        for worker in workers:
            worker.terminate()
        timeout_s = self.settings.worker.stop_timeout_s + STOP_MARGIN_S
        for worker in workers:
            worker.stop(timeout_s)
        # 2. The indexer.
        indexer.stop(timeout_s)
        # 3. The servers, which nobody uses any more.
        if self.milvus:
            self.milvus.stop()
        if self.kafka:
            self.kafka.stop()

    def exports(self) -> list[str]:
        """Lines for a shell in which commands are to find all this; none where the defaults do."""
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
        """Write `up.json`, whole or not at all; `pid` is null where a child is dead at that moment."""
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
        if role != OUTCOMES_WORKER:  # one works at a time, under a name that the deployment has for it
            environment[f"MARQUEE_{role.upper()}__ID"] = name
        command = [sys.executable, "-m", "ops", role]
        return ChildProcess(name, command, log=self.directory / f"{name}.log", environment=environment)


def usual_port(port: int) -> int | None:
    """A port of the settings' defaults in a new folder, so that commands beside it need no settings; None where it is taken."""
    return port if is_free(port) else None


def uses_other_kafka(settings: Settings) -> bool:
    """Whether a cluster was named, be it the default's own address."""
    named = "MARQUEE_KAFKA__BOOTSTRAP_SERVERS" in os.environ
    return named or settings.kafka.bootstrap_servers != KafkaSettings().bootstrap_servers


def uses_other_milvus(settings: Settings) -> bool:
    """Whether a Milvus server was named, be it the default's own address."""
    return "MARQUEE_MILVUS__URI" in os.environ or settings.milvus.uri != MilvusSettings().uri


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep others from running in the same folder; the lock goes with the process, however it dies.

    Raises:
        LocalError: somebody does already, or the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / LOCK_FILE).open("a")
    except OSError as error:
        raise LocalError(f"{directory} cannot be used: {error}; name another folder with --dir.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(
                f"`marquee up` runs in {directory} already; end it, or name another folder with --dir."
            ) from None
        yield


def _local_milvus(directory: Path, kind: MilvusKind) -> LocalMilvus:
    server = MilvusLite if kind == "lite" else MilvusStandalone
    return server(directory / f"milvus-{kind}", usual_port(MILVUS_PORT))


def _settings_here(settings: Settings, kafka: LocalKafka | None, milvus: LocalMilvus | None) -> Settings:
    """The settings with the servers started here, and a store that means the same in any working directory."""
    update: dict[str, object] = {}
    if kafka:
        update["kafka"] = settings.kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
    if milvus:
        update["milvus"] = settings.milvus.model_copy(update={"uri": milvus.uri})
    if "://" not in settings.store:
        update["store"] = str(Path(settings.store).absolute())
    return settings.model_copy(update=update)
