"""The state of a trial that waits too long: a stall that occurs once in a hundred runs leaves only this to understand it."""

import time
from collections import Counter
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from ops.local.kafka import LocalKafka
from tests.testbed.kafka import cluster_state, committed_offsets, group_state

if TYPE_CHECKING:
    from tests.faults.trial import Trial

_LINE = 300
_COMPLAINTS = 8
_SKIPPED = "these partitions are likely deleted already and hence can be skipped"


def diagnosis(trial: "Trial") -> str:
    """Threads, servers, workers and partitions, with the most useful lines last, because long reports are cut."""
    address, names = trial.servers.kafka.bootstrap_servers, trial.settings.names
    living = [worker for worker in trial.workers if worker.wanted or worker.child.running]
    lines = [
        "",
        *(line for worker in living for line in worker.stacks()),
        *(f"Kafka: {line}" for line in _complaints(trial.servers.kafka)),
        *cluster_state(address, trial.settings.prefix),
        *group_state(address, names.worker_group),
        *(worker.state() for worker in living),
        f"Partitions, sent/committed/seconds since the newest result: {', '.join(_partitions(trial))}.",
        f"Injected {dict(trial.injected)}, exits {dict(trial.exits)}, notes {trial.notes}.",
    ]
    return "\n".join(lines)


def _partitions(trial: "Trial") -> list[str]:
    address, names, partitions = trial.servers.kafka.bootstrap_servers, trial.settings.names, trial.partitions
    now, newest = time.monotonic(), trial.reader.newest_at
    sent = Counter(sent.partition for sent in trial.load.sent)
    try:
        committed = committed_offsets(address, names.worker_group, names.profiles, len(partitions))
    except KafkaException:
        committed = {}
    return [f"{p} {sent[p]}/{committed.get(p)}/{now - newest.get(p, 0.0):.0f}" for p in partitions]


def _complaints(kafka: LocalKafka) -> list[str]:
    """The newest warnings and errors of all nodes, by the time that each line begins with."""
    lines = sorted(line for line in _log_lines(kafka) if " WARN " in line or " ERROR " in line)
    return [line[:_LINE] for line in lines[-_COMPLAINTS:]]


def skipped_ends(kafka: LocalKafka, prefix: str) -> int:
    """The number of transaction ends that a broker skipped in partitions without a leader (KAFKA-20734).

    Such a broker may commit an aborted transaction, and answers to committed events may come twice.
    """
    return sum(_SKIPPED in line and prefix in line for line in _log_lines(kafka))


def _log_lines(kafka: LocalKafka) -> list[str]:
    logs = [process.log for process in kafka.processes if process.log.is_file()]
    return [line for log in logs for line in log.read_text(errors="replace").splitlines()]
