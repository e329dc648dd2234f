"""Which release serves, and what a worker knows of movies that nobody gets."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge

_LOADED = ("active", "trial")


class ReleaseMetrics:
    """The release that serves here, since when, and what must never happen to it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._release = Gauge(
            "marquee_active_release_timestamp_seconds",
            "When the release began to serve here; the labels say which.",
            ["release", "collection"],
            registry=registry,
        )
        self._epoch = Gauge("marquee_active_epoch", "Epoch of the release served here.", registry=registry)
        self._swaps = Counter("marquee_release_swaps", "Releases taken over.", registry=registry)
        failures = Counter(
            "marquee_release_load_failures",
            "Attempts at loading a release that failed, by what it is to be: active (what served before goes on), trial.",
            ["what"],
            registry=registry,
        )
        self._load_failures_of = {what: failures.labels(what) for what in _LOADED}
        self._mismatches = Counter(
            "marquee_release_mismatches",
            "Results whose towers, collection and names are not one release's, or whose vectors are another batch's; each is kept from "
            "being published.",
            registry=registry,
        )
        self._withdrawn = Gauge(
            "marquee_withdrawn_movies", "Movies that are withdrawn, as this worker knows.", registry=registry
        )
        self._info = Gauge(
            "marquee_worker_info",
            "1; the labels say which version runs, and where the user tower does: cpu or gpu.",
            ["version", "device"],
            registry=registry,
        )

    def serving(self, release: str, collection: str, epoch: int) -> None:
        """A release took over."""
        self._release.clear()
        self._release.labels(release, collection).set_to_current_time()
        self._epoch.set(epoch)
        self._swaps.inc()

    def load_failed(self, what: str) -> None:
        """A release could not be loaded: the active one, or the one on trial."""
        self._load_failures_of[what].inc()

    def device(self, device: str) -> None:
        """Where the user tower of the release that serves runs."""
        self._info.clear()
        self._info.labels(version("marquee"), device).set(1)

    def mismatch(self, results: int) -> None:
        """Count results that two releases had a part in: must never happen."""
        self._mismatches.inc(results)

    def withdrawn(self, movies: int) -> None:
        self._withdrawn.set(movies)
