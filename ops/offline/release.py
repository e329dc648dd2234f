"""A release that answers without a deployment: exact search over its own vectors, by the worker's own code."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.release import ActiveRecord
from schemas.settings import Settings
from worker.events import Answer, Event
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.serving import Answerer, Recommender, ReleaseLoader, Serving


class OfflineRelease:
    """One release, loaded from the store. Its results name the collection of attempt 0, because none was searched.

    Raises:
        ReleaseError: the release is missing, incomplete or corrupt.
    """

    def __init__(self, settings: Settings, release: str) -> None:
        exact: dict[str, Any] = {"retrieval": "exact", "exact_max_mb": 1_000_000, "cached_lists": 0}
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=exact)})
        record = ActiveRecord(release=release, collection=settings.names.collection(release, 0), epoch=1)
        self.served = ReleaseLoader(settings).load(record)
        self.recommender = Recommender(diversity=settings.worker.diversity)
        serving = Serving(self.served, record.epoch)
        self._answerer = Answerer(
            settings.names.dead_letters, lambda: serving, self.recommender, Metrics(CollectorRegistry())
        )

    def answer(self, events: Sequence[Event]) -> list[Answer]:
        """The answer of each event, in order."""
        return self._answerer.answer(events, Cancellation())
