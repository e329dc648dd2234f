"""The work itself: events in, answers out. decode ─▶ embed ─▶ search ─▶ encode, for a whole batch at a time."""

import logging
import threading
from collections.abc import Callable, Sequence

from schemas.dead_letter import Reason
from schemas.errors import MarqueeError
from schemas.profile import DEFAULT_K, ProfileEvent
from worker.batch import Answer, Event, source_of
from worker.decode import Rejection, decode
from worker.encode import encode_dead_letter
from worker.errors import AbandonedError
from worker.metrics import Metrics
from worker.rank import Wish
from worker.retrieval import Retriever
from worker.serving import ServedRelease, Serving

log = logging.getLogger(__name__)


class Answerer:
    """Answers batches with the release that serves; several threads may use one."""

    def __init__(self, dead_letters: str, serving: Serving, retriever: Retriever, metrics: Metrics) -> None:
        self._dead_letters = dead_letters
        self._serving = serving
        self._retriever = retriever
        self._metrics = metrics
        self._embedding = threading.Lock()  # a tower takes one caller at a time

    def answer(self, events: Sequence[Event], is_ours: Callable[[], bool]) -> list[Answer]:
        """The answer of each event, in order; one release makes them all.

        Waits and tries again for as long as Milvus is away and the batch is ours.

        Raises:
            AbandonedError: the batch is not ours any more.
            SettingsError: Milvus refused who we are.
        """
        served = self._serving.current()
        with self._metrics.stage("decode"):
            decoded = [decode(event.value()) for event in events]
        readable = [
            (event, profile)
            for event, profile in zip(events, decoded, strict=True)
            if isinstance(profile, ProfileEvent)
        ]
        answers = iter(self._recommend(readable, served, is_ours))
        return [
            self._dead_letter(event, profile, served) if isinstance(profile, Rejection) else next(answers)
            for event, profile in zip(events, decoded, strict=True)
        ]

    def last_resort(self, answer: Answer, refusal: str) -> Answer:
        """What is published instead of an answer that no broker takes: a dead letter, in the end without a value."""
        rejection = Rejection(Reason.PROCESSING_FAILED, f"the broker refused the result: {refusal}")
        record = encode_dead_letter(
            self._dead_letters,
            answer.event,
            rejection,
            self._serving.current().name,
            without_value=answer.reason is not None,
        )
        return Answer(answer.event, record, rejection.reason)

    def _dead_letter(self, event: Event, rejection: Rejection, served: ServedRelease) -> Answer:
        record = encode_dead_letter(self._dead_letters, event, rejection, served.name)
        return Answer(event, record, rejection.reason)

    def _recommend(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        served: ServedRelease,
        is_ours: Callable[[], bool],
    ) -> list[Answer]:
        """Recommendations for events that could be read; what fails on its data is halved down to the event."""
        if not readable:
            return []
        try:
            return self._recommend_together(readable, served, is_ours)
        except (AbandonedError, MarqueeError):
            raise  # no event's fault: a token that Milvus refuses must not make dead letters of them all
        except Exception as error:  # whatever an event can cause must not stop the others
            if len(readable) > 1:
                middle = len(readable) // 2
                halves = (readable[:middle], readable[middle:])
                return [answer for half in halves for answer in self._recommend(half, served, is_ours)]
            event = readable[0][0]
            log.exception("cannot answer %s with release %s", source_of(event), served.name)
            rejection = Rejection(Reason.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
            return [self._dead_letter(event, rejection, served)]

    def _recommend_together(
        self,
        readable: Sequence[tuple[Event, ProfileEvent]],
        served: ServedRelease,
        is_ours: Callable[[], bool],
    ) -> list[Answer]:
        profiles = [profile for _, profile in readable]
        with self._metrics.stage("embed"), self._embedding:
            vectors = served.release.embed_profiles(profiles)
        unknown = served.release.unknowns(profiles)
        self._metrics.unknown(unknown.users, unknown.movies)
        wishes = [Wish(profile.k or DEFAULT_K, frozenset(profile.recent or ())) for profile in profiles]
        with self._metrics.stage("search"):
            lists, retrieval = self._retriever.lists(served, vectors, wishes, is_ours)
        with self._metrics.stage("encode"):
            return [
                Answer(event, served.encoder.encode(event, profile, picks, retrieval))
                for (event, profile), picks in zip(readable, lists, strict=True)
            ]
