"""What answers a batch: the active release, and a candidate on trial beside it."""

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from schemas.release import TrialRecord
from worker.events import Event, source_of
from worker.monitoring.threads import Cancellation
from worker.serving.served import ServedRelease

_HASH_BYTES = 8
_HASHES = 1 << 64


@dataclass(frozen=True)
class Trial:
    """A candidate that answers a share of the traffic, in public (canary) or beside it (shadow)."""

    record: TrialRecord
    served: ServedRelease

    def takes(self, event: Event) -> bool:
        """Whether an event's key is in the share: the same keys in every worker, and with a larger share more of them.

        The release's name is part of the hash, so that not the same people meet every candidate. An event without a key
        is told by its place.
        """
        return share_of(self.record.release, event.key() or source_of(event).encode()) < self.record.share


@dataclass(frozen=True)
class Lineup:
    """A batch takes it once, and keeps it to its end."""

    active: ServedRelease
    epoch: int
    trial: Trial | None = None
    replaced: Cancellation = field(default_factory=Cancellation, compare=False)
    """Cancelled once another lineup serves: a batch that waits for this one begins again with that."""

    @property
    def canary(self) -> Trial | None:
        return self._on_trial("canary")

    @property
    def shadow(self) -> Trial | None:
        return self._on_trial("shadow")

    def _on_trial(self, kind: str) -> Trial | None:
        return self.trial if self.trial and self.trial.record.kind == kind else None


class HasLineup(Protocol):
    """What knows which releases answer now."""

    def lineup(self) -> Lineup:
        """For one batch, which keeps it to its end."""
        ...


def share_of(release: str, key: bytes) -> float:
    """Where a key stands among all keys, 0 up to 1, for a candidate: BLAKE2b, which spreads keys that are alike."""
    digest = hashlib.blake2b(key, digest_size=_HASH_BYTES, key=release.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / _HASHES
