"""A network for a cluster's nodes in which one can be cut off from everybody: a namespace for each, and a bridge between."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.kafka import LocalKafka
from ops.local.kafka_config import Node
from ops.local.process import ChildProcess, LocalError


def obstacle() -> str | None:
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
        """Nothing comes through any more, in either direction, and nobody is told."""
        _ip("link", "set", self._link(node), "down")

    def join(self, node: int) -> None:
        _ip("link", "set", self._link(node), "up")

    def __enter__(self) -> Self:
        """Raises LocalError where the kernel refuses."""
        _ip("link", "add", self._tag, "type", "bridge")
        _ip("address", "add", f"{self._subnet}.1/24", "dev", self._tag)
        _ip("link", "set", self._tag, "up")
        for node in self._ids:
            space, link = self._namespace(node), self._link(node)
            _ip("netns", "add", space)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", link, "master", self._tag, "up")
            _ip("-n", space, "address", "add", f"{self.host(node)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self._ids:
            with suppress(LocalError):  # it was not made any more
                _ip("netns", "delete", self._namespace(node))
        with suppress(LocalError):
            _ip("link", "delete", self._tag)

    def _namespace(self, node: int) -> str:
        return f"{self._tag}-{node}"

    def _link(self, node: int) -> str:
        return f"{self._tag}v{node}"


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


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")
