"""What a shadow's answers are beside the active release's."""

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class ShadowMetrics:
    """A candidate that answers beside the one that serves; without one, nothing of this moves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "marquee_shadow_events",
            "Events that a shadow answered too, by what came of it: compared, failed, skipped (it was too slow).",
            ["outcome"],
            registry=registry,
        )
        self._overlap = Histogram(
            "marquee_shadow_overlap",
            "Share of the active release's top 5 that the shadow's top 5 has too.",
            buckets=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
            registry=registry,
        )
        # No histogram: one with buckets below zero has no sum, and so no mean.
        self._score_shift = Summary(
            "marquee_shadow_score_shift",
            "The shadow's mean score of its top 5, less the active release's.",
            registry=registry,
        )
        self._seconds = Histogram(
            "marquee_shadow_batch_seconds",
            "Seconds from profiles to results of the batches that a shadow answered too, by who answered: active, candidate.",
            ["by"],
            buckets=_SECONDS,
            registry=registry,
        )

    def compared(self, overlap: float, score_shift: float) -> None:
        """A shadow's answer was compared with the active release's."""
        self._events.labels("compared").inc()
        self._overlap.observe(overlap)
        self._score_shift.observe(score_shift)

    def failed(self, events: int) -> None:
        self._events.labels("failed").inc(events)

    def skipped(self, events: int) -> None:
        self._events.labels("skipped").inc(events)

    def batch(self, active_s: float, candidate_s: float) -> None:
        """One batch, answered by both."""
        self._seconds.labels("active").observe(active_s)
        self._seconds.labels("candidate").observe(candidate_s)
