"""Apache Kafka in KRaft mode on this machine: one node, or three with real replication."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.java import QUICK, UTF_8, java_command
from ops.local.kafka_config import (
    PORTS_FILE,
    Node,
    initial_controllers,
    load_cluster,
    load_nodes,
    write_properties,
)
from ops.local.ports import is_open, require_free
from ops.local.process import ChildProcess

# Kafka starts within seconds on an idle machine, and within a minute on a busy one.
READY_TIMEOUT_S = 180.0
FORMAT_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 10.0

_LOADS = re.compile(
    rb"(?P<what>Scheduling loading of|Finished loading of|Failed to load) metadata from "
    rb"(?P<partition>__consumer_offsets-\d+) with epoch (?P<epoch>\d+)"
)


class LocalKafka:
    """Apache Kafka on loopback, with data, ports and logs in one folder, from which it can be started again.

    Nodes are numbered from 1. Each is broker and controller; with three, topics have replication 3 and
    `min.insync.replicas` 2.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 1,
        port: int | None = None,
        heap_mb: int = 512,
        properties: Mapping[str, str] | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        """`port` is that of node 1 in a new folder, by default a free one. `properties` override `server.properties`.

        `java_options` are for the nodes, not for the tool that formats their folders.

        Raises:
            LocalError: the jars cannot be fetched, or the folder contains a cluster of another size.
        """
        self.directory = directory.absolute()
        self.cluster = load_cluster(self.directory, nodes)
        self.nodes = load_nodes(self.directory, self.cluster, port)
        self.properties = dict(properties or {})
        self._java = java_command(heap_mb)
        self._java_options = list(java_options)
        self.processes = [self._process(node) for node in self.nodes]
        self._loads = [GroupLoads(process) for process in self.processes]

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(node.address for node in self.nodes)

    @property
    def pids(self) -> dict[int, int]:
        """Process ids of the running nodes, by node."""
        pids = {node.id: self.process(node.id).pid for node in self.nodes}
        return {node: pid for node, pid in pids.items() if pid is not None}

    def process(self, node: int) -> ChildProcess:
        return self.processes[node - 1]

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start every node that does not run, and wait until all are members of the cluster.

        Raises:
            LocalError: a port is in use, or a node does not start.
        """
        for node in self.nodes:
            if not self.process(node.id).running:
                ports = {
                    f"Kafka node {node.id}": node.port,
                    f"its controller {node.id}": node.controller_port,
                }
                require_free(ports, self.directory / PORTS_FILE)
            write_properties(node, self.nodes, self.properties)
        self._format()
        for process in self.processes:
            process.start()
        for node in self.nodes:
            self._wait(node, timeout_s)

    def stop(self) -> None:
        """End every node by SIGTERM, and by SIGKILL after a timeout."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.stop(STOP_TIMEOUT_S)

    def kill(self, node: int = 1) -> None:
        """End a node by SIGKILL."""
        self.process(node).kill()

    def end(self, node: int = 1) -> None:
        """End a node by SIGTERM, and by SIGKILL after a timeout."""
        self.process(node).stop(STOP_TIMEOUT_S)

    def restart(self, node: int = 1, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Restart a node, whether it runs or not, and wait until it is a member of the cluster.

        Raises:
            LocalError: it does not start.
        """
        self.end(node)
        self.process(node).start()
        self._wait(self.nodes[node - 1], timeout_s)

    def has_lost_groups(self, node: int = 1) -> bool:
        """Whether a running node restarted without the groups that it coordinates: `end` it, and start it again.

        After SIGTERM it leaves no session behind. After a kill it would lose its partitions with its session, and load twice.
        """
        return self.process(node).running and self._loads[node - 1].are_lost()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _process(self, node: Node) -> ChildProcess:
        name = "kafka" if len(self.nodes) == 1 else f"kafka-{node.id}"
        command = [*self._java, *self._java_options, "kafka.Kafka", str(node.properties_file)]
        log = self.directory / f"{name}.log"
        return ChildProcess(name, command, log=log, environment=UTF_8, directory=node.folder)

    def _format(self) -> None:
        """Write the identity of each new node into its data folder, as `kafka-storage.sh format` does."""
        formats = [
            ChildProcess(
                f"the formatting of Kafka node {node.id}",
                [
                    *self._java,
                    *QUICK,
                    "kafka.tools.StorageTool",
                    "format",
                    *("--config", str(node.properties_file)),
                    *("--cluster-id", self.cluster.cluster_id),
                    *("--initial-controllers", initial_controllers(self.nodes)),
                ],
                log=self.directory / f"format-{node.id}.log",
                environment=UTF_8,
                directory=node.folder,
            )
            for node in self.nodes
            if not node.is_formatted
        ]
        try:
            for tool in formats:
                tool.start()
            for tool in formats:
                tool.finish(FORMAT_TIMEOUT_S)
        finally:  # after Ctrl-C, for instance: `stop` ends only the nodes
            for tool in formats:
                tool.kill()

    def _wait(self, node: Node, timeout_s: float) -> None:
        self.process(node.id).wait_until(lambda: _is_member(node), timeout_s)


class GroupLoads:
    """Detects in a node's log that it restarted without the groups that it coordinates.

    A single broker that restarts after kill -9 leads its partitions, loses them with its old session, and leads them
    again. Kafka (4.2.2, 4.3.1) then loads its groups twice. If the first load ends late (some seconds, on a busy machine),
    Kafka takes its end for that of the second: groups read after it have no timers, so that members that died in between
    keep their partitions for good; or the load fails, and no transaction of these groups ends. Another restart loads all.
    """

    def __init__(self, node: ChildProcess) -> None:
        self._node = node
        self._reset()

    def are_lost(self) -> bool:
        """Whether groups were lost since the last start; reads the new lines of the log."""
        if self._start != self._node.log_start:
            self._reset()
        if self._node.log.is_file():
            with self._node.log.open("rb") as log:
                log.seek(self._read)
                lines = log.read().rpartition(b"\n")[0]
            self._read += len(lines)
            for load in _LOADS.finditer(lines):
                self._apply(load["what"], load["partition"], int(load["epoch"]))
        return self._lost

    def _reset(self) -> None:
        self._start = self._read = self._node.log_start
        self._due: dict[bytes, int] = {}  # leader epoch of each partition
        self._lost = False

    def _apply(self, what: bytes, partition: bytes, epoch: int) -> None:
        if what == b"Scheduling loading of":
            self._due[partition] = epoch
        else:
            self._lost |= what == b"Failed to load" or epoch < self._due.get(partition, epoch)


def _is_member(node: Node) -> bool:
    """Whether the node answers, and lists itself among the brokers."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    if not is_open(node.port, node.host):
        return False
    # log_level 0: a broker that does not listen yet is no news.
    client = AdminClient({"bootstrap.servers": node.address, "log_level": 0})
    try:
        return node.id in client.list_topics(timeout=2.0).brokers
    except KafkaException:
        return False
