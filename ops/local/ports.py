"""TCP ports on loopback: free ones, chosen once and kept in a folder, so that a restart uses them again."""

import json
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from ops.local.process import LocalError

HOST = "127.0.0.1"

# Below the range of outgoing connections on Linux (32768 and up): a client that retries a port of that range on loopback
# while its server is down can get that very port, connect to itself, and keep the port in use.
LOWEST, HIGHEST = 15_000, 32_767
ATTEMPTS = 1_000
LEAVING_S = 3.0
# Ports that this process has chosen: their servers may not listen yet.
_chosen: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # Like the servers: lingering connections of a killed server do not keep its port in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return False
    return True


def is_open(port: int, host: str = HOST) -> bool:
    """Whether a server accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def free_port() -> int:
    """Choose a port without a listener; at random, so that processes that choose at the same time get different ones.

    Raises:
        LocalError: none was found.
    """
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, HIGHEST)
        if port not in _chosen and is_free(port):
            _chosen.add(port)
            return port
    raise LocalError(
        f"No free TCP port was found between {LOWEST} and {HIGHEST}; end the processes that use them."
    )


def kept_ports(file: Path, names: Sequence[str], wanted: dict[str, int] | None = None) -> dict[str, int]:
    """Return the ports of `names`: those kept in `file`, else those in `wanted`, else free ones; `file` then keeps them.

    Raises:
        LocalError: the file cannot be read, or no free port was found.
    """
    try:
        kept = json.loads(file.read_text()) if file.is_file() else {}
        ports = {name: int(port) for name, port in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LocalError(f"{file} does not contain the ports of this folder: {error}; delete it.") from error
    for name in names:
        if name not in ports:
            ports[name] = (wanted or {}).get(name) or free_port()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports, indent=2) + "\n")
    return ports


def require_free(ports: dict[str, int], file: Path) -> None:
    """Check that a server can listen on its ports; waits for a killed server to release them.

    Raises:
        LocalError: a port is in use; the message has its number.
    """
    deadline = time.monotonic() + LEAVING_S
    for name, port in ports.items():
        while not is_free(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not is_free(port):
            raise LocalError(
                f"Port {port} ({name}, kept in {file}) is in use; end the process that uses it, or delete {file} to choose other ports."
            )
