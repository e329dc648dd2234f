"""Commits whose outcome the worker cannot know: the broker's answer is withheld until the call times out."""

from collections.abc import Sequence

from ops.faults.proxy import EndTxnProxy
from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial
from ops.local.ports import HOST


def withhold_outcomes(trial: Trial) -> None:
    """In turn: the request had reached the broker, and it had not."""
    withhold(trial, landed=[number % 2 == 0 for number in range(trial.size.faults)])
    trial.notes.append("in turn of a commit that landed, and of one that did not")


def withhold(trial: Trial, landed: Sequence[bool]) -> None:
    """Withhold one outcome after another, each until the worker gives up waiting; then see it go on."""
    servers = trial.servers
    proxy = trial.keep(EndTxnProxy(servers.listener_port, servers.proxied_port))
    trial.variables["MARQUEE_KAFKA__BOOTSTRAP_SERVERS"] = f"{HOST}:{proxy.port}"
    trial.start_workers(trial.scenario.workers)
    for each in landed:
        trial.wait(trial.chance.uniform(0.5, 2.0))
        undone = trial.undone
        proxy.withhold(landed=each)
        trial.until("the end of the wait", lambda before=undone: trial.undone > before)  # type: ignore[misc]
        trial.injected["commit that landed" if each else "commit that did not land"] += 1
        trial.progress()


UNKNOWN_OUTCOME = Scenario(
    "unknown-outcome",
    "the broker's answer to EndTxn is withheld until the timeout, when it had landed and when it had not",
    withhold_outcomes,
    small=Size(faults=2, events=3_000),
    full=Size(faults=100, events=100_000),
    workers=1,
)
