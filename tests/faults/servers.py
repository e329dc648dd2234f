"""The suite's Kafka and Milvus: real ones, in a folder of their own."""

import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.kafka import LocalKafka
from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
from ops.local.ports import HOST, kept_ports
from ops.local.up import MilvusKind
from tests.faults.network import Network, NetworkedKafka
from tests.testbed.aot_cache import ensure_aot_cache

# Of a group of KIP-848 the session timeout is the broker's; its default is 45 s, with no less allowed.
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
    """Started together, ended together.

    A single Kafka node also has a listener that tells its clients to come to `proxied_port`, where a proxy may stand:
    without, the proxy would be left after the first answer, which names the broker's own address.
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
