"""The release that serves: follows `releases`, loads the next one beside the current, and swaps one reference."""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Self

import numpy as np

from schemas.errors import UnreachableError
from schemas.profile import ProfileEvent
from schemas.release import ActiveRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.checks import unit_length, warm
from worker.encode import RecommendationEncoder
from worker.errors import MilvusError, ReleaseError
from worker.exact import ExactIndex, Vectors
from worker.heartbeat import Heartbeat
from worker.http import Health
from worker.metrics import Metrics
from worker.milvus import Milvus
from worker.records import ReleasesReader
from worker.release import Release
from worker.store import ReleaseStore

log = logging.getLogger(__name__)

# A release that could not be loaded is tried again: the store may have been away, or be mended.
RETRY_SECONDS = 10.0
_FOLLOW_SECONDS = 0.2
# Movies embedded at a time where the indexer's vectors cannot be read.
_EMBED_MOVIES = 4_096


@dataclass(frozen=True)
class ServedRelease:
    """Towers and collection that belong together, and all that answering takes of them."""

    release: Release
    collection: str
    epoch: int
    encoder: RecommendationEncoder
    exact: ExactIndex

    @property
    def name(self) -> str:
        """The release's name."""
        return self.release.manifest.release


class Serving:
    """Keeps the active release loaded, in a thread of its own; `current` is what answers the next batch."""

    def __init__(
        self, settings: Settings, milvus: Milvus, heartbeat: Heartbeat, health: Health, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._milvus = milvus
        self._heartbeat = heartbeat
        self._health = health
        self._metrics = metrics
        self._store = ReleaseStore(settings.store)
        self._current: ServedRelease | None = None
        self._retry_at = 0.0
        self._stopping = threading.Event()
        self._arrived = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)

    def __enter__(self) -> Self:
        self._health.set("release", "no release is active yet: `marquee reindex RELEASE` makes one so")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, unless it is inside a call that outlasts the wait."""
        self._stopping.set()
        self._thread.join(2.0)

    def wait(self, seconds: float) -> bool:
        """Whether there is a release to serve, waiting up to `seconds` for one."""
        return self._arrived.wait(seconds)

    def current(self) -> ServedRelease:
        """The release that serves now; a batch takes it once and keeps it to its end."""
        assert self._current is not None
        return self._current

    def raise_failure(self) -> None:
        """Raise in this thread what ended the following of releases."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        reader = ReleasesReader(self._settings)
        try:
            self._read_to_end(reader)
            while not self._stopping.is_set():
                reader.poll(_FOLLOW_SECONDS)
                self._follow(reader.view)
                self._heartbeat.beat()
        except Exception as failure:  # noqa: BLE001  raised again in the main thread, which ends the process
            self._failure = failure
        finally:
            reader.close()

    def _read_to_end(self, reader: ReleasesReader) -> None:
        """Past states must not be served on the way to the present one."""
        while not self._stopping.is_set():
            try:
                reader.read_to_end(RETRY_SECONDS)
                return
            except UnreachableError as error:
                log.warning("waiting for the releases: %s", error)

    def _follow(self, view: ReleasesView) -> None:
        active = view.active
        if active and self._is_news(active):
            record = view.releases.get(active.release)
            self._take_over(active, record.vectors_sha256 if record else None)

    def _is_news(self, active: ActiveRecord) -> bool:
        current = self._current
        return (current is None or active.epoch > current.epoch) and time.monotonic() >= self._retry_at

    def _take_over(self, active: ActiveRecord, vectors_sha256: str | None) -> None:
        """1. Load beside the current one. 2. Warm. 3. Swap; the batches under way end with the release they began with."""
        try:
            served = self._load(active, vectors_sha256)
        except (ReleaseError, OSError) as error:
            problem = f"cannot serve release {active.release} of epoch {active.epoch}: {error}"
            log.error("%s", problem)  # noqa: TRY400  the error's own sentence says it all
            self._health.set("release", problem)
            self._heartbeat.problem = problem
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return
        self._warm(served)
        self._current = served
        self._heartbeat.serving(active.release, active.epoch)
        self._metrics.serving(active.release, active.collection, active.epoch)
        self._health.set("release", None)
        self._arrived.set()
        log.info("serving release %s from %s, epoch %d", active.release, active.collection, active.epoch)

    def _load(self, active: ActiveRecord, vectors_sha256: str | None) -> ServedRelease:
        worker = self._settings.worker
        release = self._store.load(active.release, device=worker.device, threads=worker.embed_threads)
        encoder = RecommendationEncoder(
            self._settings.names.recommendations,
            active.release,
            active.collection,
            release.catalogue,
            release.manifest.stars,
        )
        vectors = self._vectors(release, vectors_sha256)
        return ServedRelease(
            release,
            active.collection,
            active.epoch,
            encoder,
            ExactIndex(release.catalogue.movie_ids, vectors),
        )

    def _vectors(self, release: Release, sha256: str | None) -> Vectors:
        """The vectors that the indexer kept, or the same made anew where they cannot be read."""
        movies = len(release.catalogue.movie_ids)
        if sha256:
            try:
                return self._store.read_vectors(release.manifest.release, sha256)
            except ReleaseError as error:
                log.warning("embedding the movies here: %s", error)
        starts = range(0, movies, _EMBED_MOVIES)
        vectors = np.concatenate([release.embed_movies(at, min(at + _EMBED_MOVIES, movies)) for at in starts])
        return unit_length(vectors, release.manifest)

    def _warm(self, served: ServedRelease) -> None:
        vectors = served.release.embed_profiles([ProfileEvent()])
        try:
            warm(self._milvus, served.collection, vectors)
        except MilvusError as error:
            log.warning("serving without having warmed: %s", error)
