"""The metrics of outcomes: by release and rank, with intervals, and without series of the past."""

from dataclasses import asdict

import pytest
from prometheus_client import CollectorRegistry

from schemas.feedback import wilson
from worker.monitoring import outcomes_metrics
from worker.monitoring.outcomes_metrics import OutcomesMetrics
from worker.outcomes.join import WINDOW_MS, Join

HOUR_MS = 3_600_000


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.setattr(outcomes_metrics, "_SHOW_SECONDS", 0.0)
    return CollectorRegistry()


def rate(registry: CollectorRegistry, release: str, rank: str) -> tuple[float | None, ...]:
    labels = {"release": release, "rank": rank, "what": "clicked"}
    return tuple(
        registry.get_sample_value("marquee_outcomes_rate", labels | {"bound": bound})
        for bound in ("low", "value", "high")
    )


def test_rates_are_exported_by_release_and_rank_for_a_day(registry: CollectorRegistry) -> None:
    # Given ten lists of two, all of them seen, a first movie clicked in four of them
    metrics, join = OutcomesMetrics(registry), Join(remember=100)
    for number in range(10):
        event = f"e{number}"
        join.recommendation(event, "old", "F 25-34", [1, 2], HOUR_MS, new=True)
        for movie in (1, 2):
            join.feedback(event, movie, "shown", HOUR_MS, new=True)
        if number < 4:
            join.feedback(event, 1, "clicked", HOUR_MS, new=True)
    metrics.committed(0, asdict(join.committed(0)), len(join))
    metrics.show(join.records())

    assert rate(registry, "old", "1") == tuple(wilson(4, 10))
    assert rate(registry, "old", "2") == tuple(wilson(0, 10))
    assert rate(registry, "old", "all") == tuple(wilson(4, 20))
    movies = {"release": "old", "rank": "1", "what": "shown"}
    assert registry.get_sample_value("marquee_outcomes_movies", movies) == 10
    assert registry.get_sample_value("marquee_outcomes_joined_total") == 24

    # When another release has answered, and a day is over
    join.recommendation("later", "new", "F 25-34", [1], 2 * WINDOW_MS, new=True)
    metrics.committed(0, asdict(join.committed(3 * WINDOW_MS)), len(join))
    metrics.show(join.records())

    # Then the series of the first are gone
    assert rate(registry, "old", "all") == (None, None, None)
    assert registry.get_sample_value("marquee_outcomes_movies", movies) is None
