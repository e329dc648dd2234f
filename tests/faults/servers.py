"""The servers of a trial, and a network in which a node can be cut off: a namespace for each node, and a bridge between.

The bridge has a namespace of its own. In the machine's namespace the firewall would filter the bridge, and with Docker it drops
everything (the policy of FORWARD is DROP, and `br_netfilter` applies it to bridges).
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.kafka import LocalKafka
from ops.local.kafka_config import Node
from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
from ops.local.ports import HOST, kept_ports
from ops.local.process import ChildProcess, LocalError
from ops.local.up import MilvusKind
from tests.testbed.aot_cache import ensure_aot_cache


def network_obstacle() -> str | None:
    """Why there can be no such network here; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root may make the network namespaces that it takes"
    if shutil.which("ip") is None:
        return "the command ip is not installed (Debian: apt-get install iproute2)"
    return None


class Network:
    """Nodes 1 to `nodes` and this machine on one subnet of 198.18.0.0/15, the range kept for tests (RFC 2544)."""

    def __init__(self, nodes: int) -> None:
        self._ids = range(1, nodes + 1)
        self._tag = f"mq{random.randrange(16**4):04x}"
        self._subnet = f"198.{random.choice((18, 19))}.{random.randrange(256)}"

    def host(self, node: int) -> str:
        return f"{self._subnet}.{node + 1}"

    def inside(self, node: int) -> list[str]:
        """What to put before a command so that it runs at the node's place."""
        return ["ip", "netns", "exec", self._namespace(node)]

    def cut(self, node: int) -> None:
        """Drop all packets in both directions, silently."""
        _ip("-n", self._hub, "link", "set", _port(node), "down")

    def join(self, node: int) -> None:
        _ip("-n", self._hub, "link", "set", _port(node), "up")

    def __enter__(self) -> Self:
        """Raises LocalError where the kernel refuses."""
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        _ip("link", "add", self._tag, "type", "veth", "peer", "name", "machine", "netns", self._hub)
        _ip("-n", self._hub, "link", "set", "machine", "master", "bridge", "up")
        _ip("address", "add", f"{self._subnet}.1/24", "dev", self._tag)
        _ip("link", "set", self._tag, "up")
        for node in self._ids:
            space, port = self._namespace(node), _port(node)
            _ip("netns", "add", space)
            _ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", self._hub, "link", "set", port, "master", "bridge", "up")
            _ip("-n", space, "address", "add", f"{self.host(node)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for space in [*map(self._namespace, self._ids), self._hub]:
            with suppress(LocalError):  # it was not made any more
                _ip("netns", "delete", space)
        with suppress(LocalError):
            # The kernel takes it with the hub, but in its own time, and its address would stay until then.
            _ip("link", "delete", self._tag)

    @property
    def _hub(self) -> str:
        return f"{self._tag}-hub"

    def _namespace(self, node: int) -> str:
        return f"{self._tag}-{node}"


class NetworkedKafka(LocalKafka):
    """A cluster each of whose nodes lives at its own place in a network."""

    def __init__(self, directory: Path, network: Network, nodes: int, properties: Mapping[str, str]) -> None:
        self._network = network
        super().__init__(directory, nodes=nodes, properties=properties)
        self.nodes = [replace(node, host=network.host(node.id)) for node in self.nodes]

    def _process(self, node: Node) -> ChildProcess:
        process = super()._process(node)
        process.command = [*self._network.inside(node.id), *process.command]
        return process


def _port(node: int) -> str:
    """The node's end at the bridge."""
    return f"port{node}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


# The session timeout of a KIP-848 group is the broker's; its default and minimum is 45 s.
CONSUMER_SESSION_SECONDS = 8
_CONSUMER_GROUPS = {
    "group.consumer.min.session.timeout.ms": "5000",
    "group.consumer.session.timeout.ms": str(CONSUMER_SESSION_SECONDS * 1_000),
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "2000",
}
# Events of any timestamp: a broker of Kafka 4 refuses those more than an hour ahead, and removes old ones. Those of both kinds would
# each begin a segment of its own.
_ANY_TIMESTAMP = {
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
    "log.retention.ms": "-1",
    "log.roll.ms": str(2**63 - 1),
}
_PROPERTIES = _CONSUMER_GROUPS | _ANY_TIMESTAMP


class Servers:
    """Kafka and Milvus of a trial.

    A single Kafka node also has a listener whose advertised port is `proxied_port`, for a proxy: by the broker's own address,
    clients would bypass the proxy after their first metadata response.
    """

    def __init__(
        self,
        directory: Path,
        *,
        milvus: MilvusKind = "standalone",
        nodes: int = 1,
        disk_mb: int = 0,
        separate: bool = False,
    ) -> None:
        """`disk_mb`: node 1 keeps its data on a tmpfs of that size, which only root can mount; 0 for the folder itself.

        `separate`: each node has a network namespace of its own, which takes root, too.
        """
        self.directory = directory
        self._disk_mb = disk_mb
        self.milvus_kind = milvus
        self.network = Network(nodes) if separate else None
        folder = directory / f"kafka-{nodes}"
        self.kafka = (
            NetworkedKafka(folder, self.network, nodes, _PROPERTIES)
            if self.network
            else LocalKafka(folder, nodes=nodes, properties=_PROPERTIES)
        )
        self._open = ExitStack()
        ports = kept_ports(directory / f"proxy-{nodes}.json", ["listener", "proxy"])
        self.listener_port, self.proxied_port = ports["listener"], ports["proxy"]
        if nodes == 1:
            self.kafka.properties |= self._proxied_listener()
        server = MilvusLite if milvus == "lite" else MilvusStandalone
        self.milvus: LocalMilvus = server(directory / f"milvus-{milvus}")

    def _proxied_listener(self) -> dict[str, str]:
        node = self.kafka.nodes[0]
        own = f"PLAINTEXT://{node.address},CONTROLLER://{node.controller_address}"
        return {
            "listeners": f"{own},PROXIED://{HOST}:{self.listener_port}",
            "advertised.listeners": f"{own},PROXIED://{HOST}:{self.proxied_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        }

    def __enter__(self) -> Self:
        ensure_aot_cache()
        try:
            self._mount()
            if self.network:
                self._open.enter_context(self.network)
            self.kafka.start()
            self.milvus.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End both."""
        self.milvus.stop()
        self.kafka.stop()
        self._open.close()
        if self._disk_mb and self._disk.is_mount():
            subprocess.run(["umount", str(self._disk)], check=True)

    @property
    def _disk(self) -> Path:
        return self.kafka.nodes[0].data

    def _mount(self) -> None:
        if self._disk_mb:
            self._disk.mkdir(parents=True, exist_ok=True)
            size = f"size={self._disk_mb}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self._disk)], check=True)
