"""What the outcomes worker measures; docs/metrics.md is made from it."""

import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from schemas.feedback import OutcomesRecord, RankOutcomes, wilson
from worker.monitoring.threads import ThreadMetrics
from worker.outcomes.join import Counts, Join

_WHAT = tuple(RankOutcomes.model_fields)
_NOTHING = ("unmatched", "late", "not_in_list")
# Beyond the tenth rank each has few impressions, and a series of its own.
_RANKS = 10
_ALL_RANKS = "all"
_SHOW_SECONDS = 10.0

Totals = Tally[tuple[str, str, str]]


class OutcomesMetrics:
    """Made once a process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.threads = ThreadMetrics(registry, "http")
        self._movies = Gauge(
            "marquee_outcomes_movies",
            "Movies recommended within the last day, by release, rank (11 for all beyond 10) and what became of them: "
            "recommended, shown, clicked, watched, liked, disliked.",
            ["release", "rank", "what"],
            registry=registry,
        )
        self._rate = Gauge(
            "marquee_outcomes_rate",
            "Share of the impressions of the last day that was clicked or watched, by release and rank (all, 1 to 10, 11 for all "
            "beyond); bound is value, and low and high of its 95 % interval (Wilson).",
            ["release", "rank", "what", "bound"],
            registry=registry,
        )
        self._nothing = Counter(
            "marquee_outcomes_unjoined",
            "Feedback that counts nowhere: unmatched (no such recommendation within a day, or forgotten), late (more than a "
            "day), not_in_list (the movie was not recommended).",
            ["why"],
            registry=registry,
        )
        self._joined = Counter(
            "marquee_outcomes_joined", "Feedback that was joined with its recommendation.", registry=registry
        )
        self._letters = Counter(
            "marquee_outcomes_dead_letters", "Feedback that could not be read.", registry=registry
        )
        self._unreadable_headers = Counter(
            "marquee_outcomes_unreadable_headers",
            "Headers of feedback that were left out of its dead letters, because their names are not UTF-8.",
            registry=registry,
        )
        self._skipped = Counter(
            "marquee_outcomes_undecodable",
            "Recommendations and feedback that the Kafka client could not decode, and that were skipped.",
            registry=registry,
        )
        self._remembered = Gauge(
            "marquee_outcomes_remembered",
            "Recommendations that feedback can be joined with; at its bound (a setting), those of a day do not fit.",
            registry=registry,
        )
        self._leads = Gauge(
            "marquee_outcomes_working", "1 where this one works, 0 where it stands by.", registry=registry
        )
        for why in _NOTHING:
            self._nothing.labels(why)
        self._behind, self._shown_at = False, float("-inf")

    def skipped(self, records: int) -> None:
        self._skipped.inc(records)

    def leading(self, leads: bool) -> None:
        self._leads.set(leads)

    def unreadable_headers(self, count: int) -> None:
        self._unreadable_headers.inc(count)

    def committed(self, letters: int, join: Join) -> None:
        """Tell what is final now; `show` tells the counts."""
        self._letters.inc(letters)
        self._joined.inc(join.counts.joined)
        for why in _NOTHING:
            self._nothing.labels(why).inc(getattr(join.counts, why))
        join.counts = Counts()
        self._remembered.set(len(join))
        self._behind = True

    def show(self, join: Join) -> None:
        """Tell the counts of the last day, where others were committed; they are thousands, so only now and then."""
        if self._behind and time.monotonic() - self._shown_at >= _SHOW_SECONDS:
            self._show(map(join.record, join.records))
            self._behind, self._shown_at = False, time.monotonic()

    def _show(self, records: Iterable[OutcomesRecord]) -> None:
        totals: Totals = Tally()
        for record in records:
            for number, rank in enumerate(record.ranks, 1):
                for what in _WHAT:
                    totals[record.release, str(min(number, _RANKS + 1)), what] += getattr(rank, what)
        _replace(self._movies, totals.items())
        for (release, _, what), count in list(totals.items()):
            totals[release, _ALL_RANKS, what] += count
        _replace(self._rate, _rates(totals))


def _rates(totals: Totals) -> Iterator[tuple[tuple[str, ...], float]]:
    """The value and its bounds of each rate that has an impression."""
    for release, rank in {(release, rank) for release, rank, _ in totals}:
        shown = totals[release, rank, "shown"]
        for what in ("clicked", "watched") if shown else ():
            interval = wilson(totals[release, rank, what], shown)
            for bound, value in interval._asdict().items():
                yield (release, rank, what, bound), value


def _replace(gauge: Gauge, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
    """Have a gauge say these values, by its labels, and no others; whoever scrapes meanwhile misses none that stays."""
    said = set()
    for labels, value in values:
        gauge.labels(*labels).set(value)
        said.add(labels)
    there = [tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples]
    for labels in there:
        if labels not in said:
            gauge.remove(*labels)
