"""Shadow: the candidate answers some batches once more, and nothing of it is published but how the answers compare."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import orjson

from schemas.errors import SettingsError
from schemas.profile import ProfileEvent
from worker.events import Answer, Event
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation, start_side
from worker.serving.lineup import Trial
from worker.serving.served import ServedRelease

log = logging.getLogger(__name__)

Readable = Sequence[tuple[Event, ProfileEvent]]
Recommend = Callable[[Readable, ServedRelease, Cancellation], list[Answer]]

TOP = 5
# Batches that wait to be answered again; the candidate being slow must not slow what serves, so more are left out.
_WAITING = 2
HELD = _WAITING + 1  # with the one that is being answered


@dataclass(frozen=True)
class Comparison:
    """Two answers to one event: the share of the active release's top 5 that the candidate has too, and by how much
    the candidate's mean score of its own top 5 is above."""

    overlap: float
    score_shift: float


@dataclass(frozen=True)
class _Shadowed:
    trial: Trial
    readable: Readable
    answers: Sequence[Answer]
    seconds: float
    cancellation: Cancellation


class Shadow:
    """Answers again, in a thread of its own, with a way to Milvus of its own."""

    def __init__(
        self, recommend: Recommend, metrics: Metrics, raise_failure: Callable[[], None] = lambda: None
    ) -> None:
        """`raise_failure` raises what ended a thread behind `recommend`."""
        self._recommend = recommend
        self._metrics = metrics
        self._waiting: queue.Queue[_Shadowed] = queue.Queue(_WAITING)
        self._trial: Trial | None = None
        self._cancellation = Cancellation()  # of the batches of this trial
        self._raise_failure = raise_failure
        self._refusal: SettingsError | None = None
        start_side("shadow", self._run, threading.Event())

    def offer(
        self, trial: Trial | None, readable: Readable, answers: Sequence[Answer], seconds: float
    ) -> None:
        """Take the share of the batches; `answers` are the active release's, made in `seconds`."""
        if trial is not self._trial:
            self._cancellation.cancel()
            self._trial, self._cancellation = trial, Cancellation()
        if trial is None or not readable or random.random() >= trial.record.share:
            return
        try:
            self._waiting.put_nowait(_Shadowed(trial, readable, answers, seconds, self._cancellation))
        except queue.Full:
            self._metrics.shadow.skipped(len(readable))

    def raise_failure(self) -> None:
        """Raise what ends the process too where only a candidate meets it: we are refused. Nothing else of one may."""
        if self._refusal:
            raise self._refusal
        try:
            self._raise_failure()
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001  the next batch begins another thread
            log.debug("behind a shadow: %s", type(error).__name__)

    def _run(self) -> None:
        while True:
            batch = self._waiting.get()
            try:
                self._answer_again(batch)
            except Exception as error:  # noqa: BLE001  nothing of a candidate may end what serves
                self._metrics.shadow.skipped(len(batch.readable))
                # Its type alone: what it says may quote a profile.
                log.warning("release %s as a shadow: %s", batch.trial.served.name, type(error).__name__)
                if isinstance(error, SettingsError):
                    self._refusal = error

    def _answer_again(self, batch: _Shadowed) -> None:
        began = time.perf_counter()
        candidate = self._recommend(batch.readable, batch.trial.served, batch.cancellation)
        seconds = time.perf_counter() - began
        compared = [
            compare(active.record.value, other.record.value)
            for active, other in zip(batch.answers, candidate, strict=True)
            if active.reason is None and other.reason is None
        ]
        for comparison in compared:
            self._metrics.shadow.compared(comparison.overlap, comparison.score_shift)
        self._metrics.shadow.failed(len(candidate) - len(compared))
        self._metrics.shadow.batch(batch.seconds, seconds)


def compare(active: bytes | None, candidate: bytes | None) -> Comparison:
    """Compare two recommendations, as they are published."""
    old, new = ([(movie["movie_id"], movie["score"]) for movie in orjson.loads(value or b"{}")["movies"][:TOP]]
                for value in (active, candidate))  # fmt: skip
    longest = max(len(old), len(new))
    common = {movie for movie, _ in old} & {movie for movie, _ in new}
    if not old or not new:
        return Comparison(float(longest == 0), 0.0)
    return Comparison(
        len(common) / longest, fmean(score for _, score in new) - fmean(score for _, score in old)
    )
