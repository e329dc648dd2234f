"""The one broker is killed and started again, at once or after minutes."""

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import PARTITIONS, Trial
from ops.local.process import ChildProcess

_FAILED_TO_LOAD = "Failed to load metadata from __consumer_offsets"
_MINUTES = (120.0, 180.0)


def kill_broker(trial: Trial) -> None:
    """kill -9, a while without a broker, and back; then work before the next time."""
    trial.start_workers(trial.scenario.workers)
    for _ in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.5, 3.0))
        failed_before = _failed_loads(trial.servers.kafka.process(1))
        trial.servers.kafka.kill()
        trial.injected["kill -9"] += 1
        trial.wait(trial.chance.uniform(0.5, 3.0))
        trial.servers.kafka.restart()
        _go_on(trial, failed_before)


def _go_on(trial: Trial, failed_before: int) -> None:
    """See all partitions move on; where Kafka's group coordinator could not load its own log, start the broker once more.

    Kafka 4.3.1 does that now and then under KIP-848 (`Failed to load metadata from __consumer_offsets`): until the broker is started
    again nobody's transaction can end, whatever a worker does.
    """
    broker = trial.servers.kafka.process(1)
    now, newest = trial.now(), trial.reader.newest_at

    def moved() -> bool:
        return all(newest.get(partition, 0.0) > now for partition in range(PARTITIONS))

    trial.until("every partition's next", lambda: moved() or _failed_loads(broker) > failed_before)
    if not moved():
        trial.notes.append("Kafka's group coordinator failed to load; the broker was started once more")
        trial.servers.kafka.restart()
        trial.progress()


def _failed_loads(broker: ChildProcess) -> int:
    return broker.log.read_text(errors="replace").count(_FAILED_TO_LOAD)


def keep_broker_away(trial: Trial) -> None:
    """kill -9, and back only when every worker has said at /health/ready that Kafka is away; then all go on by themselves."""
    trial.start_workers(trial.scenario.workers)
    processes = [worker.child.pid for worker in trial.wanted]
    for _ in range(trial.size.faults):
        trial.servers.kafka.kill()
        trial.injected["kill -9, and away"] += 1
        trial.until("everybody's word that Kafka is away", lambda: _say(trial, away=True))
        # Minutes are for the full run.
        if trial.size == trial.scenario.full:
            trial.wait(trial.chance.uniform(*_MINUTES))
        if not _say(trial, away=True):
            trial.unexpected.append("not everybody said for as long that Kafka is away")
        trial.servers.kafka.restart()
        trial.progress()
        trial.until("everybody's readiness", lambda: _say(trial, away=False))
    if processes != [worker.child.pid for worker in trial.wanted]:
        trial.unexpected.append("a worker did not go on by itself")


def _say(trial: Trial, *, away: bool) -> bool:
    """Whether all workers say that Kafka is away, or that nothing is."""
    said = [worker.problems for worker in trial.wanted]
    return all(problems is not None and ("kafka" in problems if away else not problems) for problems in said)


BROKER = Scenario(
    "broker",
    "kill -9 and restart of the broker, one node",
    kill_broker,
    small=Size(faults=2, events=3_000),
    full=Size(faults=20, events=50_000),
    workers=2,
    rate=300.0,
)
BROKER_AWAY = Scenario(
    "broker-away",
    "the one broker is away for minutes; the workers say so at /health/ready, and go on by themselves",
    keep_broker_away,
    small=Size(faults=1, events=3_000),
    full=Size(faults=4, events=50_000),
    workers=2,
    rate=100.0,
)
