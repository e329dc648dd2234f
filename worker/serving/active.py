"""The releases that serve: follows `releases`, loads the next one beside the current, and swaps one reference."""

import logging
import threading
import time
import weakref
from concurrent.futures import wait
from typing import Self

from schemas.errors import SettingsError, UnreachableError
from schemas.release import ACTIVE_KEY, RECORD_FORMAT, ActiveRecord, TrialRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import SupersededError
from worker.kafka.records import ReleasesReader
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Failure, start_vital
from worker.process import tune_interpreter
from worker.retrieval.milvus import Milvus
from worker.serving.heartbeat import Heartbeat
from worker.serving.lineup import Lineup, Trial
from worker.serving.loader import ReleaseLoader
from worker.serving.served import ServedRelease

log = logging.getLogger(__name__)

# A release that could not be loaded is tried again: the store may have been away, or be mended.
RETRY_SECONDS = 10.0
_FOLLOW_SECONDS = 0.2


class Serving:
    """Keeps what serves loaded, in a thread of its own; `lineup` is what answers the next batch."""

    def __init__(
        self, settings: Settings, milvus: Milvus, heartbeat: Heartbeat, health: Health, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._heartbeat = heartbeat
        self._health = health
        self._metrics = metrics
        self._loader = ReleaseLoader(settings, milvus)
        self._lineup: Lineup | None = None
        # Also what batches under way still hold: their collections must not be dropped.
        self._loaded: weakref.WeakSet[ServedRelease] = weakref.WeakSet()
        self._loading: str | None = None  # the collection of what is being loaded
        # What could not be loaded, and when it is tried again; what comes in its place is tried at once.
        self._failed: tuple[ActiveRecord | TrialRecord | None, float] = None, 0.0
        self._newer: int | None = None
        self._stopping = threading.Event()
        self._arrived = threading.Event()
        self._failure = Failure()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._health.set("release", "no release is active yet: `marquee reindex RELEASE` makes one so")
        self._thread = start_vital("serving", self._run, self._failure.note)
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread, unless it is inside a call that outlasts the wait."""
        self._stopping.set()
        if self._thread:
            self._thread.join(2.0)

    def wait(self, seconds: float) -> bool:
        """Whether there is a release to serve, waiting up to `seconds` for one."""
        return self._arrived.wait(seconds)

    def lineup(self) -> Lineup:
        """What serves now; a batch takes it once and keeps it to its end."""
        assert self._lineup is not None
        return self._lineup

    def raise_failure(self) -> None:
        """Raise in this thread what ended the following of releases."""
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
        """Past states must not be served on the way to the present one."""
        while not self._stopping.is_set():
            try:
                reader.read_to_end(RETRY_SECONDS)
                return
            except UnreachableError as error:
                log.warning("waiting for the releases: %s", error)
                self._health.set("releases", str(error))

    def _follow(self, view: ReleasesView) -> None:
        active, lineup = view.active, self._lineup
        if active and (lineup is None or active.epoch > lineup.epoch):
            if self._is_due(active):
                self._take_over(active, view)
        elif lineup:
            self._try(view.trial, lineup, view)

    def _is_due(self, record: ActiveRecord | TrialRecord) -> bool:
        failed, again_at = self._failed
        return record != failed or time.monotonic() >= again_at

    def _report_newer(self, view: ReleasesView) -> None:
        """A newer Marquee has said what serves: go on with what we have, and say so for as long as it lasts."""
        newer = view.newer.get(ACTIVE_KEY)
        if newer == self._newer:
            return
        self._newer = newer
        problem = None
        if newer is not None:
            problem = (
                f"the active release is told in format {newer}, and this version reads {RECORD_FORMAT}: "
                "upgrade this worker; it goes on with what it serves"
            )
        self._health.set("upgrade", problem)
        self._heartbeat.say("upgrade", problem)

    def _take_over(self, active: ActiveRecord, view: ReleasesView) -> None:
        """1. Load beside the current one, and warm. 2. Swap; the batches under way end with what they began with."""
        served = self._load(active, view)
        if served is None:
            return
        # A trial is one beside a certain active release: it ends here.
        self._swap(Lineup(served, active.epoch))
        self._heartbeat.serving(active.release, active.epoch)
        self._heartbeat.trying(None)
        for part in ("release", "trial"):
            self._heartbeat.say(part, None)
        self._metrics.release.serving(active.release, active.collection, active.epoch)
        self._metrics.release.device(served.release.user_tower.device)
        self._health.set("release", None)
        self._arrived.set()
        log.info("serving release %s from %s, epoch %d", active.release, active.collection, active.epoch)

    def _try(self, record: TrialRecord | None, lineup: Lineup, view: ReleasesView) -> None:
        """Begin, change or end the trial, if what is on Kafka is not what is done here."""
        if record is None or record.epoch != lineup.epoch:  # none, or beside another active release
            self._end_trial(lineup)
        elif record != (lineup.trial.record if lineup.trial else None) and self._is_due(record):
            self._begin_trial(record, lineup, view)

    def _end_trial(self, lineup: Lineup) -> None:
        if lineup.trial:
            log.info("release %s is not on trial any more", lineup.trial.record.release)
            self._swap(Lineup(lineup.active, lineup.epoch))
            self._heartbeat.trying(None)
        self._heartbeat.say("trial", None)

    def _begin_trial(self, record: TrialRecord, lineup: Lineup, view: ReleasesView) -> None:
        served = self._load(record, view)
        if served is None:
            # Whatever was on trial before is so no more.
            self._swap(Lineup(lineup.active, lineup.epoch))
            self._heartbeat.trying(None)
            return
        self._swap(Lineup(lineup.active, lineup.epoch, Trial(record, served)))
        self._heartbeat.trying(record.release)
        self._heartbeat.say("trial", None)
        log.info("%s of release %s with a share of %g", record.kind, record.release, record.share)

    def _swap(self, lineup: Lineup) -> None:
        """Have the next batch begin with this lineup; one that waits for the last one begins again."""
        last = self._lineup
        if last == lineup:
            return  # batches under way hold the token of the one that stays
        self._lineup = lineup
        if last is not None:
            last.replaced.cancel(SupersededError)

    def _load(self, wanted: ActiveRecord | TrialRecord, view: ReleasesView) -> ServedRelease | None:
        """The release, loaded and warm, from here where it is so already; None where it cannot be, which is said."""
        for served in self._loaded:
            if (served.name, served.collection) == (wanted.release, wanted.collection):
                return served
        record = view.releases.get(wanted.release)
        sha256, ef = (record.vectors_sha256, record.ef) if record else (None, None)
        self._loading = wanted.collection
        loading = self._loader.begin(wanted.release, wanted.collection, sha256, ef)
        # A large release takes longer to come than this worker may be silent.
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
        # Whatever it is (Paddle, for one, raises what it likes), what serves goes on.
        self._not_loaded(wanted, str(error) or type(error).__name__)
        return None

    def _not_loaded(self, wanted: ActiveRecord | TrialRecord, error: str) -> None:
        self._failed = wanted, time.monotonic() + RETRY_SECONDS
        if isinstance(wanted, ActiveRecord):
            problem = f"cannot serve release {wanted.release} of epoch {wanted.epoch}: {error}"
            self._health.set("release", problem)
            self._heartbeat.say("release", problem)
            self._metrics.release.load_failed("active")
        else:
            problem = f"cannot try release {wanted.release}: {error}"
            self._heartbeat.say("trial", problem)
            self._metrics.release.load_failed("trial")
        log.error("%s", problem)

    def _beat(self) -> None:
        """Which collections must not be dropped; what is being loaded is about to be searched."""
        collections = {served.collection for served in self._loaded} | (
            {self._loading} if self._loading else set()
        )
        self._heartbeat.beat(sorted(collections))
