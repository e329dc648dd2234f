"""Commits whose outcome the worker cannot know: the broker's answer is withheld until the call times out."""

from ops.faults.proxy import EndTxnProxy
from ops.faults.scenario import Scenario, Size
from ops.faults.trial import Trial
from ops.local.ports import HOST


def withhold_outcomes(trial: Trial) -> None:
    """In turn: the request had reached the broker, and it had not."""
    servers = trial.servers
    proxy = trial.keep(EndTxnProxy(servers.listener_port, servers.proxied_port))
    trial.variables["MARQUEE_KAFKA__BOOTSTRAP_SERVERS"] = f"{HOST}:{proxy.port}"
    trial.start_workers(trial.scenario.workers)
    for number in range(trial.size.faults):
        trial.wait(trial.chance.uniform(0.5, 2.0))
        undone = trial.undone
        proxy.withhold(landed=number % 2 == 0)
        trial.until("the end of the wait", lambda before=undone: trial.undone > before)  # type: ignore[misc]
        trial.faults += 1
        trial.progress()
    trial.notes.append(
        f"{proxy.withheld} answers withheld, in turn of a commit that landed and of one that did not"
    )


UNKNOWN_OUTCOME = Scenario(
    "unknown-outcome",
    "the broker's answer to EndTxn is withheld until the timeout, when it had landed and when it had not",
    withhold_outcomes,
    small=Size(faults=2, events=3_000),
    full=Size(faults=100, events=100_000),
    workers=1,
)
