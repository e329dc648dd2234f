"""Has a release indexed and activated: sends the command, and waits until a worker serves the release."""

import time
from collections.abc import Callable

from producer.commands import NoOutcomeError, send_command, wait_for_outcome
from schemas.errors import MarqueeError
from schemas.release import ReleaseCommand
from schemas.settings import Settings
from worker.kafka.reader import ReleasesReader
from worker.release.store import ReleaseStore

INDEX_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0
_POLL_SECONDS = 0.2


def newest(settings: Settings) -> str:
    """Find the newest release of the store.

    Raises:
        MarqueeError: there is none.
    """
    names = ReleaseStore(settings.store).names()
    if not names:
        raise MarqueeError(
            f"the store {settings.store} has no release; train one with `marquee train`, or name the store with --store"
        )
    return names[-1]


def index(
    settings: Settings,
    release: str,
    *,
    timeout_s: float = INDEX_TIMEOUT_S,
    report: Callable[[float], None] = lambda _: None,
) -> None:
    """Send the command to index a release, and wait until a worker serves it; `report` gets the share done.

    Raises:
        MarqueeError: the indexer refused it, or no worker served it within `timeout_s`.
        UnreachableError: Kafka cannot be reached.
    """
    deadline = time.monotonic() + timeout_s
    command = ReleaseCommand(action="index", release=release)
    send_command(settings, command, CONNECT_TIMEOUT_S)
    outcome = wait_for_outcome(settings, command, timeout_s, lambda record: report(record.progress))
    if outcome.outcome == "refused":
        raise MarqueeError(f"release {release} was not activated: {outcome.reason}")
    _wait_until_served(settings, release, deadline, timeout_s)


def _wait_until_served(settings: Settings, release: str, deadline: float, timeout_s: float) -> None:
    reader = ReleasesReader(settings)
    try:
        while time.monotonic() < deadline:
            reader.poll(_POLL_SECONDS)
            active = reader.view.active
            epoch = active.epoch if active and active.release == release else None
            if epoch and any(worker.epoch == epoch for worker in reader.view.live_workers()):
                return
    finally:
        reader.close()
    raise NoOutcomeError(
        f"release {release} is indexed, and no worker served it within {timeout_s:g} s; see `marquee status`"
    )
