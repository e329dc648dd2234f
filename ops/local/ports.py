"""TCP ports on loopback: free ones, chosen once and kept in a folder, so that a restart uses the same."""

import json
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from ops.local.process import LocalError

HOST = "127.0.0.1"

# Below the ports that Linux gives to outgoing connections (32768 and up): a client that keeps trying a port of that
# range on loopback while its server is down can be given that very port, and then talks to itself and keeps it taken.
LOWEST, HIGHEST = 15_000, 32_767
ATTEMPTS = 1_000
LEAVING_S = 3.0
# By this process, so that none is drawn again before its server listens.
_drawn: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As the servers do: connections of a server that was killed do not keep its port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen()
        except OSError:
            return False
    return True


def is_open(port: int, host: str = HOST) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def free_port() -> int:
    """A port on which nothing listens, another each time; at random, so that other processes that look now get others, too.

    Raises:
        LocalError: none was found.
    """
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, HIGHEST)
        if port not in _drawn and is_free(port):
            _drawn.add(port)
            return port
    raise LocalError(f"No free TCP port was found between {LOWEST} and {HIGHEST}; end what uses them.")


def kept_ports(file: Path, names: Sequence[str], wanted: dict[str, int] | None = None) -> dict[str, int]:
    """The ports of `names`: as kept in `file`, else as in `wanted`, else free ones; `file` then keeps them.

    Raises:
        LocalError: the file cannot be read, or no free port was found.
    """
    try:
        kept = json.loads(file.read_text()) if file.is_file() else {}
        ports = {name: int(port) for name, port in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise LocalError(
            f"{file} should hold the ports of this folder, and does not: {error}; delete it."
        ) from error
    for name in names:
        if name not in ports:
            ports[name] = (wanted or {}).get(name) or free_port()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports, indent=2) + "\n")
    return ports


def require_free(ports: dict[str, int], file: Path) -> None:
    """Check that a server can take its ports; one that was killed a moment ago is given the time to leave them.

    Raises:
        LocalError: one is in use; the message names it.
    """
    deadline = time.monotonic() + LEAVING_S
    for name, port in ports.items():
        while not is_free(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not is_free(port):
            raise LocalError(
                f"Port {port} ({name}, kept in {file}) is in use; end what uses it, or delete {file} to choose others."
            )
