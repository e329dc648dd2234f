"""A release that recommends without a deployment: exact search over its own vectors, by the worker's code."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from schemas.profile import ProfileEvent
from schemas.release import ActiveRecord
from schemas.settings import Settings
from worker.events import Answer, Event
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.serving import Answerer, Recommender, ReleaseLoader, Serving


class Scored(NamedTuple):
    """A movie of a ranked list."""

    movie_id: int
    title: str
    score: float


class OfflineRelease:
    """A release, loaded from the store, with the diversity of the settings.

    Raises:
        ReleaseError: the release is missing, incomplete or corrupt.
    """

    def __init__(self, settings: Settings, release: str) -> None:
        exact: dict[str, Any] = {"retrieval": "exact", "exact_max_mb": 1_000_000, "cached_lists": 0}
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=exact)})
        # Results contain a collection: that of attempt 0, which is never built.
        record = ActiveRecord(release=release, collection=settings.names.collection(release, 0), epoch=1)
        self.served = ReleaseLoader(settings).load(record)
        self.recommender = Recommender(diversity=settings.worker.diversity)
        serving = Serving(self.served, record.epoch)
        self._answerer = Answerer(
            settings.names.dead_letters, lambda: serving, self.recommender, Metrics(CollectorRegistry())
        )

    def answer(self, events: Sequence[Event]) -> list[Answer]:
        """Answer events with the records that a worker would publish, in order."""
        return self._answerer.answer(events, Cancellation())

    def recommend(self, profiles: Sequence[ProfileEvent]) -> list[list[Scored]]:
        """Rank a list for each profile, in order."""
        release = self.served.release
        ids, titles = release.catalogue.movie_ids, release.catalogue.titles
        found = self.recommender.recommend(release, self.served.target, profiles)
        return [
            [Scored(int(ids[item.row]), titles[item.row], item.score) for item in items]
            for items in found.lists.by_query()
        ]
