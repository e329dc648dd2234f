"""Milvus is killed, stopped, slow or half-open: no event, offset or partition is lost."""

import signal

from tests.faults.proxy import Proxy
from tests.faults.scenario import Scenario, Size, Wait, may
from tests.faults.scenarios.waits import ONE_CALL
from tests.faults.trial import Trial

_SLOW_SECONDS = 2.0
_TIMEOUT_SECONDS, _EXACT_AFTER_SECONDS = 5, 6
_AWAY_SECONDS = 4.0
# Milvus 2.3.5 says `collection not loaded` for long after a kill -9, and longer on a busy machine.
_BACK_SECONDS = 300.0


def break_milvus(trial: Trial) -> None:
    """The four faults in turn, each once Milvus is searched again; nothing of it may cause a rebalance."""
    proxy = trial.milvus_proxy
    trial.start_workers(trial.scenario.workers)
    trial.quiet()
    before = trial.rebalances
    faults = (_killed, _paused, _slow, _half_open)
    for number in range(trial.size.faults):
        fault = faults[number % len(faults)]
        fault(trial, proxy)
        trial.injected[fault.__name__.strip("_").replace("_", " ")] += 1
        trial.progress()
        trial.until("everybody's way back to Milvus", lambda: _searched(trial), _BACK_SECONDS)
    rebalances = trial.rebalances - before
    trial.notes.append(f"{rebalances} rebalances")
    if rebalances:
        trial.unexpected.append(f"{rebalances} rebalances while Milvus was away")


def _searched(trial: Trial) -> bool:
    """Whether nobody searches the own copy any more."""
    return not any(worker.metric("marquee_exact_fallback_in_use") for worker in trial.wanted)


def _killed(trial: Trial, _: Proxy) -> None:
    trial.servers.milvus.kill()
    trial.wait(_AWAY_SECONDS)
    trial.servers.milvus.restart()


def _paused(trial: Trial, _: Proxy) -> None:
    trial.servers.milvus.process.send_signal(signal.SIGSTOP)
    trial.wait(trial.chance.uniform(1.0, 2.0) * _AWAY_SECONDS)
    trial.servers.milvus.process.send_signal(signal.SIGCONT)


def _slow(trial: Trial, proxy: Proxy) -> None:
    proxy.delay_s = _SLOW_SECONDS
    trial.wait(2 * _AWAY_SECONDS)
    proxy.delay_s = 0.0


def _half_open(trial: Trial, proxy: Proxy) -> None:
    proxy.silent = True
    trial.wait(2 * _AWAY_SECONDS)
    proxy.silent = False


MILVUS = Scenario(
    "milvus",
    "Milvus is killed, stopped (SIGSTOP), slow (2 s a call), half-open; 0 rebalances",
    break_milvus,
    small=Size(faults=4, events=3_000),
    full=Size(faults=40, events=100_000),
    budget=may(
        Wait(_TIMEOUT_SECONDS, "timeout of the search under way (MARQUEE_MILVUS__TIMEOUT_S)"),
        Wait(_EXACT_AFTER_SECONDS, "before the worker searches its own copy (MARQUEE_MILVUS__EXACT_AFTER_S)"),
        ONE_CALL,
    ),
    workers=2,
    rate=200.0,
    variables={
        "MARQUEE_MILVUS__TIMEOUT_S": str(_TIMEOUT_SECONDS),
        "MARQUEE_MILVUS__EXACT_AFTER_S": str(_EXACT_AFTER_SECONDS),
    },
)
