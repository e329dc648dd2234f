"""The network of the fault suite on a machine whose firewall lets nothing through a bridge, as Docker leaves it."""

import subprocess
import sys

import pytest

from tests.faults.servers import Network

pytestmark = pytest.mark.system

# A namespace is a machine of its own: its firewall, and whether bridges ask it, is nobody else's.
_FIREWALL = """
set -e
iptables -P FORWARD DROP
test ! -e /proc/sys/net/bridge/bridge-nf-call-iptables || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
exec "$0" -c "from tests.system.test_network import calls; calls()"
"""
# Nobody listens there, and who says so has been reached.
_CALL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), timeout=2)
except ConnectionRefusedError:
    print("reached")
except OSError:
    print("nothing came through")
"""


def calls() -> None:
    """Print what came of a call from node 1 to 2, of one while 2 was cut off, and of one after it."""
    with Network(2) as network:
        command = [*network.inside(1), sys.executable, "-c", _CALL, network.host(2)]
        subprocess.run(command, check=True)
        network.cut(2)
        subprocess.run(command, check=True)
        network.join(2)
        subprocess.run(command, check=True)


def test_nodes_reach_each_other_whatever_the_machine_forwards() -> None:
    command = ["unshare", "--net", "bash", "-c", _FIREWALL, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["reached", "nothing came through", "reached"]
