"""Three nodes with replication 3: one is killed, stopped or cut off, or two are killed at once."""

import signal
import statistics
import time
from collections.abc import Callable, Sequence

from confluent_kafka.admin import AdminClient

from tests.faults.scenario import Scenario, Size, Wait, may
from tests.faults.scenarios.waits import BROKER_LOAD, SESSION, TAKE_OVER, WORKER_START
from tests.faults.servers import network_obstacle
from tests.faults.trial import Trial

# While two of three are left, with `broker.session.timeout.ms` 1,500.
LONGEST_GAP_SECONDS = 10.0
_AWAY_SECONDS = 4.0
# Longer than the gap may be, so that the two others must have gone on without the one that says nothing.
_SILENT_SECONDS = 14.0
_METADATA_SECONDS = 30.0


def break_nodes(trial: Trial) -> None:
    """In turn: the leader of a partition is killed, two nodes are killed at once, one is stopped (SIGSTOP)."""
    _break(trial, [_leader_killed, _two_killed, _one_stopped])


def cut_off(trial: Trial) -> None:
    """A leader is alone in its network for a while, and thinks that the others are gone."""
    _break(trial, [_one_cut_off])


def _break(trial: Trial, faults: Sequence[Callable[[Trial], None]]) -> None:
    trial.start_workers(trial.scenario.workers)
    gaps = []
    for number in range(trial.size.faults):
        fault = faults[number % len(faults)]
        began = time.monotonic()
        fault(trial)
        trial.injected[fault.__name__.strip("_").replace("_", " ")] += 1
        trial.progress()
        if fault is not _two_killed:
            gaps.append(trial.gap_since(began))
    longest = max(gaps)
    trial.notes.append(
        f"longest gap while two nodes were left {longest:.1f} s, of each fault's the median {statistics.median(gaps):.1f} s"
    )
    # A promise about time is for the full run: a small one may be a test on a machine that does other things.
    if trial.size == trial.scenario.full and longest > LONGEST_GAP_SECONDS:
        trial.unexpected.append(f"a gap of {longest:.1f} s while two nodes were left")


def _leader_killed(trial: Trial) -> None:
    node = _leader(trial)
    trial.servers.kafka.kill(node)
    trial.wait(_AWAY_SECONDS)
    trial.servers.kafka.restart(node)


def _two_killed(trial: Trial) -> None:
    """The worker must wait: a partition with one replica takes no writes.

    Waits for a result in every partition, so that members whose session ended cause no gap of the next fault.
    """
    two = trial.chance.sample([node.id for node in trial.servers.kafka.nodes], 2)
    for node in two:
        trial.servers.kafka.kill(node)
    trial.wait(_AWAY_SECONDS)
    trial.servers.kafka.start()  # both at once: one alone waits for the controllers' majority
    back = time.monotonic()
    trial.until("something new in every partition", lambda: trial.moved_since(back))


def _one_stopped(trial: Trial) -> None:
    process = trial.servers.kafka.process(_leader(trial))
    process.send_signal(signal.SIGSTOP)
    trial.wait(_SILENT_SECONDS)
    process.send_signal(signal.SIGCONT)
    trial.wait(_AWAY_SECONDS / 2)


def _one_cut_off(trial: Trial) -> None:
    network, node = trial.servers.network, _leader(trial)
    assert network is not None
    network.cut(node)
    trial.wait(_SILENT_SECONDS)
    network.join(node)
    trial.wait(_AWAY_SECONDS / 2)


def _leader(trial: Trial) -> int:
    """The node that leads a partition of the results, drawn at random."""
    kafka = trial.servers.kafka
    topic = trial.settings.names.recommendations
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    partitions = admin.list_topics(topic, timeout=_METADATA_SECONDS).topics[topic].partitions
    leader = partitions[trial.chance.choice(sorted(partitions))].leader
    # None is elected at this moment: any node will do.
    return leader if leader in {node.id for node in kafka.nodes} else kafka.nodes[0].id


NODES = Scenario(
    "nodes",
    "three nodes, replication 3: a leader killed, two killed at once, one stopped (SIGSTOP), in turn",
    break_nodes,
    small=Size(faults=3, events=3_000),
    full=Size(faults=60, events=50_000),
    budget=may(
        Wait(_AWAY_SECONDS, "with one node of three"),
        Wait(
            3.5, "election of a controller, and session timeout of a node (broker.session.timeout.ms 1.5 s)"
        ),
        BROKER_LOAD,
        WORKER_START,
        SESSION,
        TAKE_OVER,
        why=f"Of two nodes killed at once. While two nodes are left it may be {LONGEST_GAP_SECONDS:g} s; the notes say what that "
        "was, and a longer one breaks the verdict.",
    ),
    workers=2,
    nodes=3,
    rate=200.0,
)
CUT_OFF = Scenario(
    "cut-off",
    "three nodes, replication 3, each in a network namespace: a leader is cut off from everybody",
    cut_off,
    small=Size(faults=1, events=3_000),
    full=Size(faults=20, events=20_000),
    budget=may(
        Wait(LONGEST_GAP_SECONDS, "while two nodes are left"),
        why="A node is out of office 1.5 s after its last word, or 3.5 s where it was the controller, too; requests to it, and "
        "those among the brokers, time out after 3 s. A longer gap breaks the verdict.",
    ),
    workers=2,
    nodes=3,
    separate=True,
    rate=200.0,
    obstacle=network_obstacle,
)
