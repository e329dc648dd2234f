"""The Standalone server in PyPI's package `milvus`: its binary, unpacked once, and its configuration.

The package's own `MilvusServer` unpacks 250 MB for each folder, and runs etcd on the fixed port 2380, so that only one
server could run. Therefore only its configuration template is used.
"""

import lzma
import urllib.request
from http import HTTPStatus
from pathlib import Path

from ops.local.cache import made_once
from ops.local.ports import HOST
from ops.local.process import LocalError

VERSION = "2.3.5"

# The ports of the package's template, and two that it lacks.
TEMPLATE_PORTS = (
    "proxy_port",
    "proxy_internal_port",
    "root_coord_port",
    "query_coord_port",
    "query_node_port",
    "index_coord_port",
    "index_node_port",
    "data_coord_port",
    "data_node_port",
    "etcd_port",
)
PORT_NAMES = (*TEMPLATE_PORTS, "etcd_peer_port", "metrics_port")
COMPONENTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")


def milvus_binary() -> Path:
    """Return the server's binary, beside its libraries, unpacked into the cache folder at first use.

    Raises:
        LocalError: the package is not installed.
    """
    return made_once(f"milvus-{VERSION}", _unpack) / "milvus"


def _unpack(scratch: Path) -> Path:
    folder = scratch / "bin"
    folder.mkdir()
    for packed in (_package_folder() / "data" / "bin").glob("*.lzma"):
        file = folder / packed.stem
        file.write_bytes(lzma.decompress(packed.read_bytes()))
        file.chmod(0o755)
    return folder


def _package_folder() -> Path:
    try:
        import milvus
    except ImportError as error:
        raise LocalError(
            f"Milvus Standalone comes from the package milvus=={VERSION}, which is missing; "
            "install marquee[local], or use Milvus Lite."
        ) from error
    return Path(milvus.__file__).parent


def write_configuration(directory: Path, ports: dict[str, int]) -> dict[str, str]:
    """Write `configs/milvus.yaml` and `configs/etcd.yaml`, and return the server's environment variables."""
    from milvus import MilvusServerConfig

    config = MilvusServerConfig(data_dir=str(directory))
    config.resolve_storage()
    for name in TEMPLATE_PORTS:
        config.set(name, ports[name])
    # The components default to the machine's first address, which changes with the network.
    for component in COMPONENTS:
        config.set(f"{component}.ip", HOST)
    # Its log files would only repeat its standard output, which goes to our log.
    config.set("log.file.rootPath", '""')
    config.set("log.level", "warn")
    # Not `resolve()`, which refuses a port with lingering connections of a killed server.
    config.write_config()
    etcd = directory / "configs" / "etcd.yaml"
    etcd.write_text(_etcd_configuration(ports))
    return {
        "ETCD_CONFIG_PATH": str(etcd),
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(ports["metrics_port"]),
        "MILVUS_RUN_DIR": str(directory / "run"),
    }


def is_healthy(metrics_port: int) -> bool:
    """Whether every component of the server is healthy."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{metrics_port}/healthz", timeout=1.0) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _etcd_configuration(ports: dict[str, int]) -> str:
    """Configure the etcd inside the server, which otherwise ignores milvus.yaml and uses ports 2379 and 2380."""
    client, peer = (f"http://{HOST}:{ports[name]}" for name in ("etcd_port", "etcd_peer_port"))
    return (
        "name: default\n"
        f"listen-client-urls: {client}\n"
        f"advertise-client-urls: {client}\n"
        f"listen-peer-urls: {peer}\n"
        f"initial-advertise-peer-urls: {peer}\n"
        f"initial-cluster: default={peer}\n"
    )
