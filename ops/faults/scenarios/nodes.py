"""Three nodes with replication 3: one of them dies, or stands still, or two die at once."""

import signal

from confluent_kafka.admin import AdminClient

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial

# While two of three are left, with `broker.session.timeout.ms` 1,500.
LONGEST_GAP_SECONDS = 10.0
_AWAY_SECONDS = 6.0
_METADATA_SECONDS = 30.0


def break_nodes(trial: Trial) -> None:
    """In turn: the leader of a partition is killed, two nodes are killed at once, one stands still (SIGSTOP)."""
    trial.start_workers(trial.scenario.workers)
    faults = (_leader_killed, _two_killed, _one_stopped)
    longest = 0.0
    for number in range(trial.size.faults):
        fault = faults[number % len(faults)]
        began = trial.now()
        fault(trial)
        trial.injected[fault.__name__.strip("_").replace("_", " ")] += 1
        trial.progress(int(trial.scenario.rate))
        if fault is not _two_killed:
            longest = max(longest, trial.gap_since(began))
    trial.notes.append(
        f"longest gap while two nodes were left {longest:.1f} s; no network namespace was used"
    )
    if longest > LONGEST_GAP_SECONDS:
        trial.unexpected.append(f"a gap of {longest:.1f} s while two nodes were left")


def _leader_killed(trial: Trial) -> None:
    node = _leader(trial)
    trial.servers.kafka.kill(node)
    trial.wait(_AWAY_SECONDS)
    trial.servers.kafka.restart(node)


def _two_killed(trial: Trial) -> None:
    """The worker must wait: what has one replica left takes no writes."""
    two = trial.chance.sample([node.id for node in trial.servers.kafka.nodes], 2)
    for node in two:
        trial.servers.kafka.kill(node)
    trial.wait(_AWAY_SECONDS)
    trial.servers.kafka.start()  # both at once: one alone waits for the controllers' majority


def _one_stopped(trial: Trial) -> None:
    process = trial.servers.kafka.process(_leader(trial))
    process.send_signal(signal.SIGSTOP)
    trial.wait(_AWAY_SECONDS)
    process.send_signal(signal.SIGCONT)
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
    full=Size(faults=60, events=200_000),
    workers=2,
    nodes=3,
)
