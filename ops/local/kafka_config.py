"""The identity of a local Kafka cluster, kept in its folder, and each node's `server.properties`."""

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.local.ports import HOST, kept_ports
from ops.local.process import LocalError

CLUSTER_FILE = "cluster.json"
PORTS_FILE = "ports.json"


@dataclass(frozen=True)
class Cluster:
    """Identity of a cluster; node n has `directory_ids[n - 1]`."""

    cluster_id: str
    directory_ids: list[str]


def load_cluster(directory: Path, nodes: int) -> Cluster:
    """Load the cluster of a folder, or create one in an empty folder.

    Raises:
        LocalError: the folder contains a cluster of another size, or its file is unreadable.
    """
    file = directory / CLUSTER_FILE
    if not file.is_file():
        cluster = Cluster(_kafka_uuid(), [_kafka_uuid() for _ in range(nodes)])
        directory.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(cluster), indent=2) + "\n")
        return cluster
    try:
        cluster = Cluster(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise LocalError(
            f"{file} does not contain the identity of a Kafka cluster: {error}; delete {directory}."
        ) from error
    kept = len(cluster.directory_ids)
    if kept != nodes:
        raise LocalError(
            f"{directory} contains a Kafka cluster of {kept} node(s), not {nodes}; "
            f"use {kept} nodes or another folder, or delete this one."
        )
    return cluster


def _kafka_uuid() -> str:
    """Make a random UUID in Kafka's form: base64 without padding, and without a dash in front (Kafka's Uuid.java)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


@dataclass(frozen=True)
class Node:
    """A node: broker and controller, with a listener and a port for each at one address."""

    id: int
    port: int
    controller_port: int
    directory_id: str
    folder: Path
    host: str = HOST

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def controller_address(self) -> str:
        return f"{self.host}:{self.controller_port}"

    @property
    def properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def is_formatted(self) -> bool:
        return (self.data / "meta.properties").is_file()


def load_nodes(directory: Path, cluster: Cluster, port: int | None) -> list[Node]:
    """Load the nodes of a cluster with their kept ports; `port` is the first node's in a new folder."""
    ids = range(1, len(cluster.directory_ids) + 1)
    names = [f"{role}-{node}" for node in ids for role in ("broker", "controller")]
    ports = kept_ports(directory / PORTS_FILE, names, {"broker-1": port} if port else {})
    return [
        Node(
            node,
            ports[f"broker-{node}"],
            ports[f"controller-{node}"],
            cluster.directory_ids[node - 1],
            directory / f"node-{node}",
        )
        for node in ids
    ]


# Several nodes take over from each other soon. A single node keeps Kafka's timeouts (9 s and 30 s): on a busy machine it
# would lose its own session after 1.5 s, and there is no other node.
_QUICK_FAILOVER: dict[str, object] = {
    # A dead leader's partitions wait for this long (9 s by default), and it can rejoin only then.
    "broker.session.timeout.ms": 1_500,
    "broker.heartbeat.interval.ms": 300,
    # Requests among brokers. The coordinator writes the end of a transaction to each partition's leader; a leader that is
    # cut off or frozen delays it for this long (30 s by default), and with it the next transaction.
    "request.timeout.ms": 3_000,
    # If the dead node was the controller, another takes over after these (2,000 and 1,000 by default), and starts the
    # session timeout above only then: until it expires, the partitions have no leader.
    "controller.quorum.fetch.timeout.ms": 1_500,
    "controller.quorum.election.timeout.ms": 500,
}


def initial_controllers(nodes: list[Node]) -> str:
    """Format the value of `kafka-storage format --initial-controllers` (KIP-853)."""
    return ",".join(f"{node.id}@{node.controller_address}:{node.directory_id}" for node in nodes)


def write_properties(node: Node, nodes: list[Node], extra: Mapping[str, str]) -> None:
    """Write `server.properties`; `extra` overrides every property."""
    replication = len(nodes)
    in_sync = 2 if replication >= 3 else 1
    properties: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        # The value is a list, separated by commas. The path is relative to the node's folder, so that it contains none.
        "log.dirs": node.data.relative_to(node.folder),
        "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{node.controller_address}",
        "advertised.listeners": f"PLAINTEXT://{node.address},CONTROLLER://{node.controller_address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": ",".join(other.controller_address for other in nodes),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replication,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replication,
        "transaction.state.log.replication.factor": replication,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replication,
        "share.coordinator.state.topic.min.isr": in_sync,
        # With Kafka's default of 50 each, the first transaction and every start take seconds longer.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 1,
        # A coordinator reads all records that are not compacted, and the active segment never is. With the default of 100 MB
        # it reads for seconds, and if it is elected again meanwhile, it starts before it has read its groups.
        "offsets.topic.segment.bytes": 1024 * 1024,
        "group.initial.rebalance.delay.ms": 0,
        # The default of 128 MB would be a quarter of a small heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    if replication > 1:
        properties |= _QUICK_FAILOVER
    properties |= extra
    node.folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{_escaped(name, ' :=#!')}={_escaped(str(value))}\n" for name, value in properties.items()]
    node.properties_file.write_text("".join(lines), encoding="ascii")


def _escaped(text: str, also: str = "") -> str:
    """Escape for java.util.Properties, which reads ISO 8859-1 and skips a leading space."""
    utf16 = text.encode("utf-16-be")
    units = [int.from_bytes(utf16[at : at + 2]) for at in range(0, len(utf16), 2)]
    return "".join(
        f"\\u{unit:04x}"
        if not 0x20 <= unit < 0x7F or (unit == 0x20 and number == 0)
        else f"\\{chr(unit)}"
        if chr(unit) in "\\" + also
        else chr(unit)
        for number, unit in enumerate(units)
    )
