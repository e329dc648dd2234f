"""The outcomes worker's metrics, by Prometheus' conventions."""

import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from schemas.feedback import OutcomesRecord, RankOutcomes, wilson
from worker.monitoring.declarations import Declared, counter, gauge, thread_restarts

_FEEDBACK = tuple(RankOutcomes.model_fields)
_UNJOINED = ("unmatched", "late", "not_in_list")
# Ranks beyond have few impressions each, and each would be a series of its own.
_RANKS = 10
_SHOW_SECONDS = 10.0

Totals = Tally[tuple[str, str, str]]


class OutcomesMetrics(Declared):
    """The metrics of the outcomes worker."""

    _movies = gauge(
        "marquee_outcomes_movies",
        "Movies recommended within the last day, by release, rank (11 for all beyond 10) and outcome: recommended, shown, "
        "clicked, watched, liked, disliked.",
        release=(),
        rank=(),
        what=(),
    )
    _rate = gauge(
        "marquee_outcomes_rate",
        "Share of the impressions of the last day that was clicked or watched, by release and rank (all, 1 to 10, 11 for all "
        "beyond); bound is value, and low and high of its 95 % interval (Wilson).",
        release=(),
        rank=(),
        what=(),
        bound=(),
    )
    _unjoined = counter(
        "marquee_outcomes_unjoined",
        "Feedback that counts nowhere: unmatched (no such recommendation within a day, or forgotten), late (more than a "
        "day), not_in_list (the movie was not recommended).",
        why=_UNJOINED,
    )
    _joined = counter("marquee_outcomes_joined", "Feedback that was joined with its recommendation.")
    _letters = counter("marquee_outcomes_dead_letters", "Invalid feedback.")
    unreadable_headers = counter(
        "marquee_outcomes_unreadable_headers",
        "Headers of feedback that its dead letters lack, because their names are not UTF-8.",
    )
    skipped = counter(
        "marquee_outcomes_undecodable",
        "Recommendations and feedback that the Kafka client could not decode, and that were skipped.",
    )
    _remembered = gauge(
        "marquee_outcomes_remembered",
        "Recommendations that feedback can be joined with; at its bound (a setting), those of a day do not fit.",
    )
    leads = gauge(
        "marquee_outcomes_working", "1 while this outcomes worker is the leader, 0 while it stands by."
    )
    restarts = thread_restarts("http")

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__(registry)
        self._changed, self._shown_at = False, float("-inf")

    def committed(self, letters: int, counts: Mapping[str, int], remembered: int) -> None:
        """Count a commit, by its dead letters and its feedback; `show` exports the rates."""
        self._letters.inc(letters)
        self._joined.inc(counts["joined"])
        for why in _UNJOINED:
            self._unjoined.labels(why).inc(counts[why])
        self._remembered.set(remembered)
        self._changed = True

    def show(self, records: Iterable[OutcomesRecord]) -> None:
        """Export the counts of the last day after a commit. They are thousands, so at most every ten seconds."""
        if not self._changed or time.monotonic() - self._shown_at < _SHOW_SECONDS:
            return
        self._changed, self._shown_at = False, time.monotonic()
        totals: Totals = Tally()
        for record in records:
            for number, rank in enumerate(record.ranks, 1):
                for what in _FEEDBACK:
                    totals[record.release, str(min(number, _RANKS + 1)), what] += getattr(rank, what)
        _replace(self._movies, totals.items())
        for (release, _, what), count in list(totals.items()):
            totals[release, "all", what] += count
        _replace(self._rate, _rates(totals))


def _rates(totals: Totals) -> Iterator[tuple[tuple[str, ...], float]]:
    """The value and the bounds of each rate that has an impression."""
    for release, rank in {(release, rank) for release, rank, _ in totals}:
        shown = totals[release, rank, "shown"]
        for what in ("clicked", "watched") if shown else ():
            interval = wilson(totals[release, rank, what], shown)
            for bound, value in interval._asdict().items():
                yield (release, rank, what, bound), value


def _replace(gauge: Gauge, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
    """Set these values, by their labels, and remove all others; a scrape in between misses none that stays."""
    set_now = set()
    for labels, value in values:
        gauge.labels(*labels).set(value)
        set_now.add(labels)
    there = [tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples]
    for labels in there:
        if labels not in set_now:
            gauge.remove(*labels)
