"""A batch of events in, the records that they end in out: decode, recommend, encode."""

import logging
import time
from collections.abc import Callable, Sequence

from schemas.dead_letter import Reason
from schemas.errors import MarqueeError
from schemas.headers import Headers
from schemas.profile import ProfileEvent
from worker.errors import AbandonedError, MixedReleasesError, SupersededError
from worker.events import (
    Answer,
    CopiedEvent,
    Event,
    Rejection,
    decode,
    encode_dead_letter,
    log_fields,
    source_of,
)
from worker.monitoring.failpoints import failpoint
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.serving.cache import Found
from worker.serving.candidate import Readable, Serving, Shadow
from worker.serving.loader import ServedRelease
from worker.serving.recommender import Recommender

log = logging.getLogger(__name__)


class Answerer:
    """Answers batches with the releases that serve; several threads may use one."""

    def __init__(
        self,
        dead_letters: str,
        serving: Callable[[], Serving],
        recommender: Recommender,
        metrics: Metrics,
        *,
        blocklist: Callable[[], frozenset[int]] = lambda: frozenset(),
        shadow: Shadow | None = None,
    ) -> None:
        self._dead_letters = dead_letters
        self._serving = serving
        self._recommender = recommender
        self._metrics = metrics
        self._blocklist = blocklist
        self._shadow = shadow

    def answer(self, events: Sequence[Event], cancellation: Cancellation) -> list[Answer]:
        """The answer of each event, in order; one release makes them all, except for the share of a canary.

        Waits and retries while Milvus is away; if another release is swapped in meanwhile, with that release.

        Raises:
            AbandonedError: the batch was cancelled.
            SettingsError: Milvus refused the credentials.
        """
        with self._metrics.stage("decode"):
            decoded = [decode(event.value()) for event in events]
        failpoint("after-decode")
        readable: Readable = [
            (event, profile)
            for event, profile in zip(events, decoded, strict=True)
            if isinstance(profile, ProfileEvent)
        ]
        while True:
            serving, began = self._serving(), time.perf_counter()
            token = Cancellation(serving.replaced, cancellation)
            answers: list[Answer] = []
            try:
                for served, part in serving.shares(readable):
                    answers += self.recommend(part, served, token)
                break
            except SupersededError:
                log.info("swap: a batch that waited starts again with the new release")
        if self._shadow:
            self._shadow.offer(serving.shadow, readable, answers, time.perf_counter() - began)
        answer_of = {id(answer.event): answer for answer in answers}
        return [
            self._dead_letter(event, rejection, serving.active)
            if isinstance(rejection, Rejection)
            else answer_of[id(event)]
            for event, rejection in zip(events, decoded, strict=True)
        ]

    def recommend(
        self, readable: Readable, served: ServedRelease, cancellation: Cancellation
    ) -> list[Answer]:
        """The answers of one release, in order. A batch that fails is halved until the event that fails is alone.

        Raises as `answer`.
        """
        answers: list[Answer] = []
        parts = [readable] if readable else []
        while parts:
            part = parts.pop()
            try:
                answers += self._recommend_together(part, served, cancellation)
            except (AbandonedError, SupersededError, MarqueeError):
                raise  # not the fault of an event: a token that Milvus refuses must not dead-letter a batch
            except Exception as error:  # noqa: BLE001  an event must not stop the events behind it
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                else:
                    answers.append(self._failed(part[0][0], error, served))
        return answers

    def last_resort(self, answer: Answer, refusal: str) -> Answer:
        """The dead letter of a result that no broker accepts; of a dead letter, the one without the value."""
        rejection = Rejection(Reason.PROCESSING_FAILED, f"the broker refused the result: {refusal}")
        record = encode_dead_letter(
            self._dead_letters,
            answer.event,
            rejection,
            self._serving().active.name,
            without_value=answer.reason is not None,
        )
        return Answer(answer.event, record, rejection.reason)

    def _recommend_together(
        self, readable: Readable, served: ServedRelease, cancellation: Cancellation
    ) -> list[Answer]:
        """Take the lists of a batch from the cache, recommend for the other profiles in one search, and encode."""
        profiles = [profile for _, profile in readable]
        unknown = served.release.unknowns(profiles)
        self._metrics.unknown.labels("user").inc(unknown.users)
        self._metrics.unknown.labels("movie").inc(unknown.movies)
        # One set for key and search: a cached list does not outlive a withdrawal, and counts again with the same set.
        blocklist = self._blocklist()
        lookup = served.cache.look_up(profiles, blocklist)
        searched: list[Found] = []
        milvus_away = False
        if lookup.missing:
            asking = [profiles[number] for number in lookup.missing]
            found = self._recommender.recommend(
                served.release, served.target, asking, cancellation, blocklist
            )
            milvus_away = found.milvus_away
            with self._metrics.stage("encode"):
                movies = served.encoder.movies(found.lists)
            searched = list(zip(movies, found.retrievals, strict=True))
        if served.cache.size:
            states = {"hit": lookup.hits, "repeat": lookup.repeats, "miss": len(lookup.missing)}
            for state, count in states.items():
                self._metrics.cached_lists.labels(state).inc(count)
        lists = served.cache.complete(lookup, searched, keep=not milvus_away)
        with self._metrics.stage("encode"):
            return self._encode(readable, lists, served)

    def _encode(self, readable: Readable, lists: Sequence[Found], served: ServedRelease) -> list[Answer]:
        """Encode the results, and check that each names this release and this collection."""
        encode = served.encoder.encode
        answers = [
            Answer(event, encode(event, profile, movies, retrieval))
            for (event, profile), (movies, retrieval) in zip(readable, lists, strict=True)
        ]
        return [
            answer if served.made(answer.record) else self._mixed(answer.event, served) for answer in answers
        ]

    def _mixed(self, event: Event, served: ServedRelease) -> Answer:
        self._metrics.mismatch(1)
        problem = f"the result was not made by release {served.name} alone"
        log.error("%s: %s", source_of(event), problem, extra=log_fields(event, served.name))
        return self._dead_letter(event, Rejection(Reason.PROCESSING_FAILED, problem), served)

    def _failed(self, event: Event, error: Exception, served: ServedRelease) -> Answer:
        fields = log_fields(event, served.name)
        log.exception("cannot answer %s with release %s", source_of(event), served.name, extra=fields)
        if isinstance(error, MixedReleasesError):
            self._metrics.mismatch(1)
        rejection = Rejection(Reason.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
        return self._dead_letter(event, rejection, served)

    def _dead_letter(self, event: Event, rejection: Rejection, served: ServedRelease) -> Answer:
        about: Headers = []
        if isinstance(event, CopiedEvent) and event.rejection is not None:
            rejection, about = event.rejection, event.about_value
        record = encode_dead_letter(self._dead_letters, event, rejection, served.name)
        record.headers += about
        return Answer(event, record, rejection.reason)
