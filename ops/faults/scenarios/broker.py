"""The one broker is killed and started again."""

from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial


def kill_broker(trial: Trial) -> None:
    """kill -9, a while without a broker, and back; then work before the next time."""
    trial.start_workers(trial.scenario.workers)
    for _ in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.5, 3.0))
        trial.servers.kafka.kill()
        trial.injected["kill -9"] += 1
        trial.wait(trial.chance.uniform(0.5, 3.0))
        trial.servers.kafka.restart()
        trial.progress()


BROKER = Scenario(
    "broker",
    "kill -9 and restart of the broker, one node",
    kill_broker,
    small=Size(faults=2, events=3_000),
    full=Size(faults=20, events=50_000),
    workers=2,
    rate=300.0,
)
