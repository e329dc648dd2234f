"""A release that answers without a deployment: exact search over its own vectors, the same code as the worker's."""

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from schemas.settings import Settings
from worker.events import Answer, Event
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.retrieval.milvus import Milvus
from worker.retrieval.retriever import Retriever
from worker.serving.answer import Answerer
from worker.serving.lineup import Lineup
from worker.serving.loader import ReleaseLoader
from worker.serving.served import ServedRelease


class OfflineRelease:
    """One release, loaded from the store. Its answers name the collection of attempt 0: none was searched.

    Raises:
        ReleaseError: the release is missing, incomplete or corrupt.
    """

    def __init__(self, settings: Settings, release: str, vectors_sha256: str | None = None) -> None:
        exact: dict[str, Any] = {"retrieval": "exact", "exact_max_mb": 1_000_000, "cached_lists": 0}
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=exact)})
        milvus = Milvus(settings.milvus)  # never connects: exact search does not ask it
        collection = settings.names.collection(release, 0)
        self.served: ServedRelease = ReleaseLoader(settings, milvus).read(release, collection, vectors_sha256)
        metrics = Metrics(CollectorRegistry())
        self._answerer = Answerer(
            settings.names.dead_letters,
            self,
            Retriever(settings, milvus, Health(), metrics),
            metrics,
        )

    def lineup(self) -> Lineup:
        return Lineup(self.served, epoch=0)

    def answer(self, events: Sequence[Event]) -> list[Answer]:
        """The answer of each event, in order."""
        return self._answerer.answer(events, Cancellation())
