"""Milvus on this machine: Lite, the embedded server, which several processes share, and Standalone."""

import sys
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.milvus_standalone import PORT_NAMES, is_healthy, milvus_binary, write_configuration
from ops.local.ports import HOST, is_open, kept_ports, require_free
from ops.local.process import ChildProcess

READY_TIMEOUT_S = 180.0
# Standalone 2.3.5 does not end within a minute after SIGTERM. Both servers keep written data after a kill.
STOP_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 5.0
PORTS_FILE = "ports.json"


class LocalMilvus(ABC):
    """A Milvus server, with data, ports and log in one folder, from which it can be started again."""

    name: str
    port_names: tuple[str, ...] = ("proxy_port",)

    def __init__(self, directory: Path, port: int | None = None) -> None:
        """`port` is the port for clients in a new folder, by default a free one.

        Raises:
            LocalError: the server is not installed.
        """
        self.directory = directory.absolute()
        wanted = {"proxy_port": port} if port else {}
        self.ports = kept_ports(self.directory / PORTS_FILE, self.port_names, wanted)
        self.process = self._process()

    @abstractmethod
    def _process(self) -> ChildProcess: ...

    @property
    def port(self) -> int:
        return self.ports["proxy_port"]

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def start(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start the server, and wait until it answers.

        Raises:
            LocalError: a port is in use, or the server does not start.
        """
        if not self.process.running:
            require_free(
                {f"{self.name}, {name}": port for name, port in self.ports.items()}, self._ports_file
            )
        self.process.start()
        self.process.wait_until(self.answers, timeout_s)

    def stop(self) -> None:
        """End the server by SIGTERM, and by SIGKILL after a timeout."""
        self.process.stop(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End the server by SIGKILL."""
        self.process.kill()

    def restart(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Restart the server, whether it runs or not, and wait until it answers.

        Lite forgets the loaded collections (`released; call load()`, code 101). Standalone after a kill loads them again by
        itself within 40 s (`not loaded`, code 101 too).

        Raises:
            LocalError: it does not start.
        """
        self.stop()
        self.start(timeout_s)

    def answers(self) -> bool:
        """Whether the server answers a call."""
        if not is_open(self.port):
            return False
        import grpc  # type: ignore[import-untyped]
        from pymilvus import MilvusException

        from schemas.settings import MilvusSettings
        from worker.retrieval.milvus_client import connect

        try:
            with closing(connect(MilvusSettings(uri=self.uri, timeout_s=CALL_TIMEOUT_S))) as client:
                client.list_collections(timeout=CALL_TIMEOUT_S)
        except (MilvusException, grpc.RpcError):
            return False
        return True

    @property
    def _ports_file(self) -> Path:
        return self.directory / PORTS_FILE

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


class MilvusLite(LocalMilvus):
    """Milvus Lite, served on loopback, so that worker, indexer and commands share one folder."""

    name = "milvus-lite"

    def _process(self) -> ChildProcess:
        command = [sys.executable, "-m", "milvus_lite", "server"]
        options = ["--data-dir", str(self.directory / "data"), "--host", HOST, "--port", str(self.port)]
        return ChildProcess(self.name, [*command, *options], log=self.directory / "milvus.log")


class MilvusStandalone(LocalMilvus):
    """Milvus Standalone 2.3.5, all of Milvus in one process.

    Its binary listens on every address of the machine, without authentication, and has no setting against that. Lite and
    Kafka listen on loopback alone.
    """

    name = "milvus-standalone"
    port_names = PORT_NAMES

    def answers(self) -> bool:
        # Checked first, because a call to a server that is still starting hangs until its timeout.
        return is_healthy(self.ports["metrics_port"]) and super().answers()

    def _process(self) -> ChildProcess:
        binary = milvus_binary()
        environment = write_configuration(self.directory, self.ports)
        return ChildProcess(
            self.name,
            [str(binary), "run", "standalone"],
            log=self.directory / "milvus.log",
            environment={**environment, "LD_LIBRARY_PATH": str(binary.parent)},
            directory=self.directory,
        )
