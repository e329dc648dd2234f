"""The swap: follows `releases`, loads the active release and the candidate, and replaces one reference."""

import logging
import threading
import time
import weakref
from concurrent.futures import Future, wait
from typing import Self

from schemas.errors import SettingsError, UnreachableError
from schemas.profile import ProfileEvent
from schemas.release import ACTIVE_KEY, RECORD_FORMAT, ActiveRecord, TrialRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError, SupersededError
from worker.kafka.reader import ReleasesReader
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Failure, start_vital
from worker.process import tune_interpreter
from worker.retrieval.index import IndexStore, warm
from worker.serving.candidate import Candidate, Serving
from worker.serving.heartbeat import Heartbeat
from worker.serving.loader import ReleaseLoader, ServedRelease

log = logging.getLogger(__name__)

# A release that could not be loaded is retried: the store may have been away, or be repaired.
RETRY_SECONDS = 10.0
_FOLLOW_SECONDS = 0.2


class ReleaseFollower:
    """Keeps the active release and the candidate loaded, in a thread of its own."""

    def __init__(
        self, settings: Settings, store: IndexStore, heartbeat: Heartbeat, health: Health, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._store = store
        self._heartbeat = heartbeat
        self._health = health
        self._metrics = metrics
        self._loader = ReleaseLoader(settings)
        self._serving: Serving | None = None
        # Including those that batches in flight still hold: their collections must not be dropped.
        self._loaded: weakref.WeakSet[ServedRelease] = weakref.WeakSet()
        self._loading: str | None = None  # the collection of the release that is being loaded
        # The record that could not be loaded, and the time of the next attempt; another record is loaded at once.
        self._failed: tuple[ActiveRecord | TrialRecord | None, float] = None, 0.0
        self._newer: int | None = None
        self._stopping = threading.Event()
        self._arrived = threading.Event()
        self._failure = Failure()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._health.set("release", "no release is active yet: `marquee reindex RELEASE` activates one")
        self._thread = start_vital("serving", self._run, self._failure.note)
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, unless a call in it outlasts the wait."""
        self._stopping.set()
        if self._thread:
            self._thread.join(2.0)

    def wait(self, seconds: float) -> bool:
        """Whether a release serves, waiting up to `seconds` for one."""
        return self._arrived.wait(seconds)

    def serving(self) -> Serving:
        """The releases that serve now; a batch takes them once and keeps them to its end."""
        assert self._serving is not None
        return self._serving

    def raise_failure(self) -> None:
        """Raise in this thread the error that ended the follower's thread."""
        self._failure.raise_noted()

    def _run(self) -> None:
        reader = ReleasesReader(self._settings)
        try:
            self._read_to_end(reader)
            while not self._stopping.is_set():
                reader.poll(_FOLLOW_SECONDS)
                self._health.set("releases", reader.undecodable)
                self._follow(reader.view)
                self._report_newer(reader.view)
                self._beat()
        finally:
            reader.close()

    def _read_to_end(self, reader: ReleasesReader) -> None:
        """Read all states before the first is served: past ones must not be served on the way."""
        while not self._stopping.is_set():
            try:
                reader.read_to_end(RETRY_SECONDS)
                return
            except UnreachableError as error:
                log.warning("waiting for the releases: %s", error)
                self._health.set("releases", str(error))

    def _follow(self, view: ReleasesView) -> None:
        active, serving, trial = view.active, self._serving, view.trial
        if active and (serving is None or active.epoch > serving.epoch):
            if self._is_due(active):
                self._activate(active, view)
        elif serving is not None:
            if trial is None or trial.epoch != serving.epoch:  # none, or beside another active release
                self._end_trial(serving)
            elif (serving.candidate is None or trial != serving.candidate.record) and self._is_due(trial):
                self._begin_trial(trial, serving, view)

    def _is_due(self, record: ActiveRecord | TrialRecord) -> bool:
        failed, again_at = self._failed
        return record != failed or time.monotonic() >= again_at

    def _activate(self, active: ActiveRecord, view: ReleasesView) -> None:
        # 1. Load beside the releases that serve, and warm the collection.
        served = self._load(active, view)
        if served is None:
            return
        # 2. Swap: batches in flight end with the releases that they began with. A trial beside the last one ends.
        self._swap(Serving(served, active.epoch))
        # 3. Report.
        self._heartbeat.serving(active.release, active.epoch)
        self._heartbeat.trying(None)
        for part in ("release", "trial"):
            self._heartbeat.report(part, None)
        device = served.release.user_tower.device
        self._metrics.serving(active.release, active.collection, active.epoch, device)
        self._health.set("release", None)
        self._arrived.set()
        log.info("serving release %s from %s, epoch %d", active.release, active.collection, active.epoch)

    def _begin_trial(self, record: TrialRecord, serving: Serving, view: ReleasesView) -> None:
        served = self._load(record, view)
        if served is None:  # a trial before this one has ended all the same
            self._swap(Serving(serving.active, serving.epoch))
            self._heartbeat.trying(None)
            return
        self._swap(Serving(serving.active, serving.epoch, Candidate(record, served)))
        self._heartbeat.trying(record.release)
        self._heartbeat.report("trial", None)
        log.info("%s of release %s with a share of %g", record.kind, record.release, record.share)

    def _end_trial(self, serving: Serving) -> None:
        if serving.candidate:
            log.info("the trial of release %s ended", serving.candidate.record.release)
            self._swap(Serving(serving.active, serving.epoch))
            self._heartbeat.trying(None)
        self._heartbeat.report("trial", None)

    def _swap(self, serving: Serving) -> None:
        """Let the next batch begin with these releases; a batch that waits for the last ones starts again."""
        last = self._serving
        if last == serving:
            return  # batches in flight hold the token of the one that stays
        self._serving = serving
        if last is not None:
            last.replaced.cancel(SupersededError)

    def _load(self, wanted: ActiveRecord | TrialRecord, view: ReleasesView) -> ServedRelease | None:
        """The release, loaded and warm, loaded only once; None and a report where loading failed."""
        for served in self._loaded:
            if (served.name, served.collection) == (wanted.release, wanted.collection):
                return served
        self._loading = wanted.collection
        loading: Future[ServedRelease] = Future()
        start_vital(
            f"load-{wanted.release}",
            lambda: loading.set_result(self._loaded_and_warm(wanted, view)),
            loading.set_exception,
        )
        # A large release takes longer to load than a worker may go without a heartbeat.
        while not wait([loading], _FOLLOW_SECONDS).done:
            if self._stopping.is_set():
                return None
            self._beat()
        self._loading = None
        error = loading.exception()
        if error is None:
            self._loaded.add(loading.result())
            tune_interpreter()
            return loading.result()
        if isinstance(error, SettingsError):
            raise error
        # Any other error, and Paddle raises all kinds, leaves the active release serving.
        self._report_failure(wanted, str(error) or type(error).__name__)
        return None

    def _loaded_and_warm(self, wanted: ActiveRecord | TrialRecord, view: ReleasesView) -> ServedRelease:
        served = self._loader.load(wanted, view.releases.get(wanted.release))
        try:
            warm(
                self._store.index(served.collection, served.target.items),
                served.release.embed_profiles([ProfileEvent()]),
            )
        except MilvusError as error:
            log.warning("serving %s without having warmed its collection: %s", served.name, error)
        return served

    def _report_failure(self, wanted: ActiveRecord | TrialRecord, error: str) -> None:
        self._failed = wanted, time.monotonic() + RETRY_SECONDS
        if isinstance(wanted, ActiveRecord):
            problem = f"cannot serve release {wanted.release} of epoch {wanted.epoch}: {error}"
            self._health.set("release", problem)
            self._heartbeat.report("release", problem)
            self._metrics.load_failures.labels("active").inc()
        else:
            problem = f"cannot try release {wanted.release}: {error}"
            self._heartbeat.report("trial", problem)
            self._metrics.load_failures.labels("trial").inc()
        log.error("%s", problem)

    def _report_newer(self, view: ReleasesView) -> None:
        """Report an active release in a record of a newer Marquee, for as long as it is one; the last one goes on serving."""
        newer = view.newer.get(ACTIVE_KEY)
        if newer == self._newer:
            return
        self._newer = newer
        problem = None
        if newer is not None:
            problem = (
                f"the record of the active release has format {newer}, and this version reads {RECORD_FORMAT}: "
                "upgrade this worker; it goes on with the release that it serves"
            )
        self._health.set("upgrade", problem)
        self._heartbeat.report("upgrade", problem)

    def _beat(self) -> None:
        """Report the collections that must not be dropped, the one that is being loaded among them."""
        loading = {self._loading} if self._loading else set()
        self._heartbeat.beat(sorted({served.collection for served in self._loaded} | loading))
