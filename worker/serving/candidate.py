"""The releases that answer a batch, and the candidate on trial: its share of the events, and its shadow."""

import hashlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from statistics import fmean

import orjson

from schemas.errors import SettingsError
from schemas.profile import ProfileEvent
from schemas.release import TrialRecord
from worker.events import Answer, Event, source_of
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation, start_side
from worker.serving.loader import ServedRelease

log = logging.getLogger(__name__)

_HASH_BYTES = 8
_HASHES = 1 << 64

Readable = Sequence[tuple[Event, ProfileEvent]]
Recommend = Callable[[Readable, ServedRelease, Cancellation], list[Answer]]
TOP = 5
# Batches that wait for the candidate. More are skipped: a slow candidate must not slow the active release.
_WAITING = 2
HELD = _WAITING + 1  # with the batch that is being answered


@dataclass(frozen=True)
class Candidate:
    """A release on trial: it answers a share of the events in public (canary) or unpublished beside the active one (shadow)."""

    record: TrialRecord
    served: ServedRelease

    def takes(self, event: Event) -> bool:
        """Whether an event's key is in the share: the same keys in every worker, and with a larger share more of them.

        The release's name is part of the hash, so that different users meet different candidates. An event without a
        key counts by its partition and offset.
        """
        return share_of(self.record.release, event.key() or source_of(event).encode()) < self.record.share


@dataclass(frozen=True)
class Serving:
    """The releases that answer a batch, which keeps them to its end."""

    active: ServedRelease
    epoch: int
    candidate: Candidate | None = None
    replaced: Cancellation = field(default_factory=Cancellation, compare=False)
    """Cancelled by the next swap: a batch that waits for these releases starts again with the next ones."""

    @property
    def canary(self) -> Candidate | None:
        return self._on_trial("canary")

    @property
    def shadow(self) -> Candidate | None:
        return self._on_trial("shadow")

    def _on_trial(self, kind: str) -> Candidate | None:
        return self.candidate if self.candidate and self.candidate.record.kind == kind else None

    def shares(self, readable: Readable) -> list[tuple[ServedRelease, Readable]]:
        """The events of each release: all are the active one's, except for the share of a canary."""
        canary = self.canary
        if canary is None:
            return [(self.active, readable)]
        taken = [canary.takes(event) for event, _ in readable]
        left = [not by_canary for by_canary in taken]
        return [
            (canary.served, list(compress(readable, taken))),
            (self.active, list(compress(readable, left))),
        ]


def share_of(release: str, key: bytes) -> float:
    """The place of a key among all keys, 0 up to 1, for a candidate: BLAKE2b, which spreads similar keys."""
    digest = hashlib.blake2b(key, digest_size=_HASH_BYTES, key=release.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / _HASHES


@dataclass(frozen=True)
class Comparison:
    """Two results of one event: the share of the active release's top 5 that is in the candidate's top 5, and the candidate's
    mean score of its top 5 less the active release's."""

    overlap: float
    score_shift: float


@dataclass(frozen=True)
class _Shadowed:
    candidate: Candidate
    readable: Readable
    answers: Sequence[Answer]
    seconds: float
    cancellation: Cancellation


class Shadow:
    """Has the candidate answer some batches again, in a thread of its own, and publishes only how the results compare."""

    def __init__(
        self, recommend: Recommend, metrics: Metrics, raise_failure: Callable[[], None] = lambda: None
    ) -> None:
        """`raise_failure` raises the error that ended a thread of `recommend`."""
        self._recommend = recommend
        self._metrics = metrics
        self._waiting: queue.Queue[_Shadowed] = queue.Queue(_WAITING)
        self._candidate: Candidate | None = None
        self._cancellation = Cancellation()  # of the batches of this candidate
        self._raise_failure = raise_failure
        self._refusal: SettingsError | None = None
        start_side("shadow", self._run, threading.Event())

    def offer(
        self, candidate: Candidate | None, readable: Readable, answers: Sequence[Answer], seconds: float
    ) -> None:
        """Take the candidate's share of the batches; `answers` are the active release's, made in `seconds`."""
        if candidate is not self._candidate:
            self._cancellation.cancel()
            self._candidate, self._cancellation = candidate, Cancellation()
        if candidate is None or not readable or random.random() >= candidate.record.share:
            return
        try:
            self._waiting.put_nowait(_Shadowed(candidate, readable, answers, seconds, self._cancellation))
        except queue.Full:
            self._metrics.shadow_events.labels("skipped").inc(len(readable))

    def raise_failure(self) -> None:
        """Raise refused credentials, which end the process also where only the candidate meets them; nothing else of it may."""
        if self._refusal:
            raise self._refusal
        try:
            self._raise_failure()
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001  the next batch starts another thread
            log.debug("a thread of the shadow ended: %s", type(error).__name__)

    def _run(self) -> None:
        while True:
            batch = self._waiting.get()
            try:
                self._answer_again(batch)
            except Exception as error:  # noqa: BLE001  no failure of a candidate may end the process
                self._metrics.shadow_events.labels("skipped").inc(len(batch.readable))
                # The type alone: the message may quote a profile.
                name = batch.candidate.served.name
                log.warning("the shadow of release %s failed: %s", name, type(error).__name__)
                if isinstance(error, SettingsError):
                    self._refusal = error

    def _answer_again(self, batch: _Shadowed) -> None:
        began = time.perf_counter()
        others = self._recommend(batch.readable, batch.candidate.served, batch.cancellation)
        seconds = time.perf_counter() - began
        compared = [
            compare(active.record.value, other.record.value)
            for active, other in zip(batch.answers, others, strict=True)
            if active.reason is None and other.reason is None
        ]
        for comparison in compared:
            self._metrics.shadow_overlap.observe(comparison.overlap)
            self._metrics.shadow_shift.observe(comparison.score_shift)
        self._metrics.shadow_events.labels("compared").inc(len(compared))
        self._metrics.shadow_events.labels("failed").inc(len(others) - len(compared))
        self._metrics.shadow_seconds.labels("active").observe(batch.seconds)
        self._metrics.shadow_seconds.labels("candidate").observe(seconds)


def compare(active: bytes | None, candidate: bytes | None) -> Comparison:
    """Compare two published recommendations."""
    old, new = ([(movie["movie_id"], movie["score"]) for movie in orjson.loads(value or b"{}")["movies"][:TOP]]
                for value in (active, candidate))  # fmt: skip
    longest = max(len(old), len(new))
    common = {movie for movie, _ in old} & {movie for movie, _ in new}
    if not old or not new:
        return Comparison(float(longest == 0), 0.0)
    return Comparison(
        len(common) / longest, fmean(score for _, score in new) - fmean(score for _, score in old)
    )
