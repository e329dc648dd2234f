"""What the outcomes worker measures; docs/metrics.md is made from it."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from schemas.feedback import OutcomesRecord, RankOutcomes
from schemas.intervals import wilson
from worker.join import Counts, Join

_WHAT = tuple(RankOutcomes.model_fields)
_NOTHING = ("unmatched", "late", "not_in_list")
# Beyond the tenth rank each has few impressions, and a series of its own.
_RANKS = 10

Totals = Tally[tuple[str, str, str]]


class OutcomesMetrics:
    """Made once a process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._movies = Gauge(
            "marquee_outcomes_movies",
            "Movies recommended within the last day, by release, rank (11 for all beyond 10) and what became of them: "
            "recommended, shown, clicked, watched, liked, disliked.",
            ["release", "rank", "what"],
            registry=registry,
        )
        self._rate = Gauge(
            "marquee_outcomes_rate",
            "Share of the impressions of the last day that was clicked or watched, by release; bound is value, and low and high "
            "of its 95 % interval (Wilson).",
            ["release", "what", "bound"],
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
        self._told = Counts()

    def leading(self, leads: bool) -> None:
        self._leads.set(leads)

    def committed(self, letters: int, join: Join) -> None:
        """Tell what is final now."""
        self._letters.inc(letters)
        self._joined.inc(join.counts.joined)
        for why in _NOTHING:
            self._nothing.labels(why).inc(getattr(join.counts, why))
        join.counts = Counts()
        self._remembered.set(len(join))
        self._show(map(join.record, join.records))

    def _show(self, records: Iterable[OutcomesRecord]) -> None:
        totals: Totals = Tally()
        shares: Totals = Tally()
        for record in records:
            for number, rank in enumerate(record.ranks, 1):
                for what in _WHAT:
                    count = getattr(rank, what)
                    totals[record.release, str(min(number, _RANKS + 1)), what] += count
                    shares[record.release, what, ""] += count
        self._movies.clear()
        for labels, count in totals.items():
            self._movies.labels(*labels).set(count)
        self._rate.clear()
        for release in {release for release, _, _ in shares}:
            shown = shares[release, "shown", ""]
            for what in ("clicked", "watched") if shown else ():
                interval = wilson(shares[release, what, ""], shown)
                for bound, value in zip(("low", "value", "high"), interval, strict=True):
                    self._rate.labels(release, what, bound).set(value)
