"""How the lists of a batch were found."""

from prometheus_client import CollectorRegistry, Counter, Gauge

_UNKNOWN = ("user", "movie")
_CACHE = ("hit", "repeat", "miss")


class SearchMetrics:
    """Milvus, exact search, the cache, and what the release does not know."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._retries = Counter(
            "marquee_search_retries", "Searches tried again after Milvus failed.", registry=registry
        )
        self._exact = Counter(
            "marquee_exact_fallbacks", "Batches searched exactly while Milvus was away.", registry=registry
        )
        self._exact_in_use = Gauge(
            "marquee_exact_fallback_in_use",
            "1 while batches are searched exactly because Milvus is away, else 0.",
            registry=registry,
        )
        self._short = Counter(
            "marquee_short_lists",
            "Events searched for again, because most of what Milvus was asked for must not be recommended to them.",
            registry=registry,
        )
        cache = Counter(
            "marquee_cached_lists",
            "Events by what the cache of lists had for them: hit, repeat (of another event in the batch), miss.",
            ["found"],
            registry=registry,
        )
        unknown = Counter(
            "marquee_unknown",
            "Users and movies of events that the release does not know.",
            ["what"],
            registry=registry,
        )
        self._cache_of = {value: cache.labels(value) for value in _CACHE}
        self._unknown_of = {value: unknown.labels(value) for value in _UNKNOWN}

    def retried(self) -> None:
        self._retries.inc()

    def exactly(self) -> None:
        """A batch went the exact way because Milvus is away."""
        self._exact.inc()
        self._exact_in_use.set(1)

    def milvus_answers(self) -> None:
        """Milvus has searched."""
        self._exact_in_use.set(0)

    def short(self, events: int) -> None:
        """Events whose list had to be searched for again."""
        self._short.inc(events)

    def cache(self, hits: int, repeats: int, misses: int) -> None:
        """What the cache of lists had for the events of a batch."""
        self._cache_of["hit"].inc(hits)
        self._cache_of["repeat"].inc(repeats)
        self._cache_of["miss"].inc(misses)

    def unknown(self, users: int, movies: int) -> None:
        self._unknown_of["user"].inc(users)
        self._unknown_of["movie"].inc(movies)
