"""The work itself: events in, answers out. decode ─▶ embed ─▶ search ─▶ encode, for a whole batch at a time."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import chain, compress

from schemas.dead_letter import Reason
from schemas.errors import MarqueeError
from schemas.headers import Headers
from schemas.profile import DEFAULT_K, ProfileEvent
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
from worker.retrieval.lists import NOTHING, Wish
from worker.retrieval.retriever import Retriever
from worker.serving.cache import Found, list_keys
from worker.serving.embedding import embed
from worker.serving.lineup import HasLineup, Lineup
from worker.serving.served import ServedRelease
from worker.serving.shadow import Shadow

log = logging.getLogger(__name__)


class Answerer:
    """Answers batches with the release that serves; several threads may use one."""

    def __init__(
        self,
        dead_letters: str,
        serving: HasLineup,
        retriever: Retriever,
        metrics: Metrics,
        shadow: Shadow | None = None,
        withheld: Callable[[], frozenset[int]] = lambda: NOTHING,
    ) -> None:
        self._dead_letters = dead_letters
        self._shadow = shadow
        self._withheld = withheld  # movies that nobody gets: a new set at every change
        self._serving = serving
        self._retriever = retriever
        self._metrics = metrics

    def answer(self, events: Sequence[Event], cancellation: Cancellation) -> list[Answer]:
        """The answer of each event, in order; one release makes them all, but for the events that a canary takes.

        Waits and tries again for as long as Milvus is away; if another release serves meanwhile, with that.

        Raises:
            AbandonedError: the batch was cancelled.
            SettingsError: Milvus refused who we are.
        """
        with self._metrics.stage("decode"):
            decoded = [decode(event.value()) for event in events]
        failpoint("after-decode")
        while True:
            lineup = self._serving.lineup()
            try:
                return self._answer(events, decoded, lineup, Cancellation(lineup.replaced, cancellation))
            except SupersededError:
                log.info("beginning a batch again with what serves now")

    def _answer(
        self,
        events: Sequence[Event],
        decoded: Sequence[ProfileEvent | Rejection],
        lineup: Lineup,
        cancellation: Cancellation,
    ) -> list[Answer]:
        readable = [
            (event, profile)
            for event, profile in zip(events, decoded, strict=True)
            if isinstance(profile, ProfileEvent)
        ]
        began = time.perf_counter()
        recommended = self._recommend_by_release(readable, lineup, cancellation)
        if self._shadow:
            self._shadow.offer(lineup.shadow, readable, recommended, time.perf_counter() - began)
        answers = iter(recommended)
        return [
            self._dead_letter(event, profile, lineup.active)
            if isinstance(profile, Rejection)
            else next(answers)
            for event, profile in zip(events, decoded, strict=True)
        ]

    def recommend(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        served: ServedRelease,
        cancellation: Cancellation,
    ) -> list[Answer]:
        """The answers of one release to events that could be read, in order; raises as `answer`."""
        return self._published_by(served, self._recommend(readable, served, cancellation))

    def last_resort(self, answer: Answer, refusal: str) -> Answer:
        """What is published instead of an answer that no broker takes: a dead letter, in the end without a value."""
        rejection = Rejection(Reason.PROCESSING_FAILED, f"the broker refused the result: {refusal}")
        record = encode_dead_letter(
            self._dead_letters,
            answer.event,
            rejection,
            self._serving.lineup().active.name,
            without_value=answer.reason is not None,
        )
        return Answer(answer.event, record, rejection.reason)

    def _recommend_by_release(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        lineup: Lineup,
        cancellation: Cancellation,
    ) -> list[Answer]:
        """A canary splits the batch here, before anything is embedded."""
        canary = lineup.canary
        if canary is None:
            return self.recommend(readable, lineup.active, cancellation)
        taken = [canary.takes(event) for event, _ in readable]
        parts = {
            served: iter(self.recommend(list(compress(readable, chosen)), served, cancellation))
            for served, chosen in (
                (canary.served, taken),
                (lineup.active, [not by_canary for by_canary in taken]),
            )
        }
        return [next(parts[canary.served if by_canary else lineup.active]) for by_canary in taken]

    def _published_by(self, served: ServedRelease, answers: list[Answer]) -> list[Answer]:
        """The answers, each result looked at whether it names this release and its collection; one that does not ends here."""
        return [
            answer if answer.reason is not None or served.made(answer.record) else self._mixed(answer, served)
            for answer in answers
        ]

    def _mixed(self, answer: Answer, served: ServedRelease) -> Answer:
        self._metrics.release.mismatch(1)
        log.error(
            "the result of %s was not made by release %s alone",
            source_of(answer.event),
            served.name,
            extra=log_fields(answer.event, served.name),
        )
        rejection = Rejection(
            Reason.PROCESSING_FAILED, f"the result was not made by release {served.name} alone"
        )
        return self._dead_letter(answer.event, rejection, served)

    def _dead_letter(self, event: Event, rejection: Rejection, served: ServedRelease) -> Answer:
        about: Headers = []
        if isinstance(event, CopiedEvent) and event.rejection is not None:
            rejection, about = event.rejection, event.about_value
        record = encode_dead_letter(self._dead_letters, event, rejection, served.name)
        record.headers += about
        return Answer(event, record, rejection.reason)

    def _recommend(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        served: ServedRelease,
        cancellation: Cancellation,
    ) -> list[Answer]:
        """Recommendations for events that could be read; what fails on its data is halved down to the event."""
        if not readable:
            return []
        try:
            return self._recommend_together(readable, served, cancellation)
        except (AbandonedError, SupersededError, MarqueeError):
            raise  # no event's fault: a token that Milvus refuses must not make dead letters of them all
        except Exception as error:  # whatever an event can cause must not stop the others
            if len(readable) > 1:
                middle = len(readable) // 2
                halves = (readable[:middle], readable[middle:])
                return [answer for half in halves for answer in self._recommend(half, served, cancellation)]
            event = readable[0][0]
            log.exception(
                "cannot answer %s with release %s",
                source_of(event),
                served.name,
                extra=log_fields(event, served.name),
            )
            if isinstance(error, MixedReleasesError):
                self._metrics.release.mismatch(1)
            rejection = Rejection(Reason.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
            return [self._dead_letter(event, rejection, served)]

    def _recommend_together(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        served: ServedRelease,
        cancellation: Cancellation,
    ) -> list[Answer]:
        unknown = served.release.unknowns([profile for _, profile in readable])
        self._metrics.search.unknown(unknown.users, unknown.movies)
        lists = self._lists([profile for _, profile in readable], served, cancellation)
        with self._metrics.stage("encode"):
            return [
                Answer(event, served.encoder.encode(event, profile, movies, retrieval))
                for (event, profile), (movies, retrieval) in zip(readable, lists, strict=True)
            ]

    def _lists(
        self, profiles: Sequence[ProfileEvent], served: ServedRelease, cancellation: Cancellation
    ) -> list[Found]:
        """The profiles' lists: of equal ones only one is searched for, and none that the cache has."""
        # Part of the key, so that nothing outlives a withdrawal, nor comes back with the same set: and the set that is
        # looked up is the one that is searched with, whatever is read meanwhile.
        withheld = self._withheld()
        if not served.cache.size:
            return self._search(profiles, served, cancellation, withheld)[0]
        keys = list_keys(profiles, withheld)
        found = served.cache.find(keys)
        wanted = {key: place for place, key in enumerate(keys) if found[place] is None}
        hits = len(found) - found.count(None)
        self._metrics.search.cache(hits, len(keys) - hits - len(wanted), len(wanted))
        if not wanted:
            return [hit for hit in found if hit is not None]
        searched, lasting = self._search(
            [profiles[place] for place in wanted.values()], served, cancellation, withheld
        )
        if lasting:
            served.cache.keep(list(wanted), searched)
        fresh = dict(zip(wanted, searched, strict=True))
        return [hit if hit is not None else fresh[key] for key, hit in zip(keys, found, strict=True)]

    def _search(
        self,
        profiles: Sequence[ProfileEvent],
        served: ServedRelease,
        cancellation: Cancellation,
        withheld: frozenset[int],
    ) -> tuple[list[Found], bool]:
        """The profiles' lists, and whether they are as good as they will ever be: made while Milvus was not away."""
        with self._metrics.stage("embed"):
            vectors = embed(served.release, profiles, self._metrics, cancellation)
        failpoint("after-embed")
        with self._metrics.stage("search"):
            wishes = [_wish(profile) for profile in profiles]
            found = self._retriever.lists(served, vectors, wishes, cancellation, withheld=withheld)
        failpoint("after-search")
        if served.foreign(vectors, found.lists):
            raise MixedReleasesError(
                f"what {served.collection} gives is not the work of release {served.name}"
            )
        with self._metrics.stage("encode"):
            movies = served.encoder.movies(found.lists)
        return list(zip(movies, found.retrievals, strict=True)), not found.milvus_away


def _wish(profile: ProfileEvent) -> Wish:
    if not (profile.recent or profile.exclude or profile.filter):
        return Wish(profile.k or DEFAULT_K)
    never = frozenset(chain(profile.recent or (), profile.exclude or ()))
    asks = profile.filter and any((profile.filter.genres, profile.filter.not_genres, profile.filter.years))
    return Wish(profile.k or DEFAULT_K, never, profile.filter if asks else None)
