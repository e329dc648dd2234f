"""A release for the suite: trained once on generated data, and indexed by a real indexer."""

import sys
import time
from pathlib import Path

from ops.local.process import ChildProcess
from schemas.errors import MarqueeError
from schemas.release import CommandOutcome, ReleaseCommand
from schemas.settings import Settings

INDEX_SECONDS = 300.0
# A cluster that has just come up on a busy machine takes its time for the first record.
SEND_SECONDS = 90.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 5.0


def trained_store(directory: Path, seed: int) -> str:
    """A store with one small fusion release, made where `directory` holds none yet."""
    from ops.data.generate import Sizes, generate
    from ops.data.movielens import load
    from ops.training.hyperparameters import Hyperparameters
    from ops.training.train import train_fusion
    from worker.release.store import ReleaseStore

    store = ReleaseStore(str(directory / "store"))
    if not store.names():
        generate(directory / "data", seed=seed, sizes=Sizes(users=300, movies=400, ratings=20_000))
        train_fusion(load(directory / "data"), store, Hyperparameters(epochs=2, batch=1_024, seed=seed))
    return str(directory / "store")


def index(
    settings: Settings, folder: Path, environment: dict[str, str], seconds: float = INDEX_SECONDS
) -> dict[str, set[str]]:
    """Have the store's newest release indexed and activated; the collections of each release.

    Raises:
        MarqueeError: the indexer refused it, or did not come that far in time.
    """
    from ops.deployment.indexing import newest
    from producer.commands import send_command
    from worker.kafka.reader import read_releases

    command = ReleaseCommand(action="index", release=newest(settings))
    send_command(settings, command, SEND_SECONDS)
    indexer = ChildProcess(
        "indexer",
        [sys.executable, "-m", "ops", "indexer"],
        log=folder / "indexer.log",
        environment=environment | {"MARQUEE_HTTP__PORT": "0"},
    )
    indexer.start()
    try:
        outcome = _outcome(settings, command, indexer, seconds)
    finally:
        indexer.stop(_STOP_SECONDS)
    if outcome.outcome != "done":
        raise MarqueeError(f"the suite's release was not activated: {outcome.reason}.{indexer.log_tail()}")
    releases = read_releases(settings, INDEX_SECONDS).releases
    return {name: {record.collection} for name, record in releases.items() if record.collection}


def _outcome(
    settings: Settings, command: ReleaseCommand, indexer: ChildProcess, seconds: float = INDEX_SECONDS
) -> CommandOutcome:
    """What became of the command, as long as there is an indexer that may yet say it."""
    from producer.commands import NoOutcomeError, wait_for_outcome

    deadline = time.monotonic() + seconds
    while True:
        try:
            return wait_for_outcome(settings, command, _LOOK_SECONDS, connect_timeout_s=SEND_SECONDS)
        except NoOutcomeError as error:
            if not indexer.running:
                raise MarqueeError(
                    f"the indexer ended with code {indexer.returncode}.{indexer.log_tail()}"
                ) from None
            if time.monotonic() > deadline:
                raise MarqueeError(f"{error}{indexer.log_tail()}") from None
