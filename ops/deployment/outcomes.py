"""The outcomes of recommendations, as rows with intervals, and the comparison of a canary with the active release."""

from dataclasses import dataclass
from datetime import datetime

from producer.outcomes import GroupOf, added_up, outcomes
from schemas.feedback import Interval, RankOutcomes, difference, wilson
from schemas.settings import Settings

_SURE = 0.05
_GROUPS: dict[str, GroupOf] = {
    "release": lambda record, _: record.release,
    "rank": lambda _, rank: str(rank),
    "segment": lambda record, _: record.segment,
}
RATES = ("clicked", "watched", "liked", "disliked")


@dataclass(frozen=True)
class Row:
    """One release, rank or segment."""

    name: str
    counts: RankOutcomes

    def rate(self, what: str) -> Interval:
        """Share of the impressions with an action."""
        return wilson(getattr(self.counts, what), self.counts.shown)

    def as_json(self, by: str) -> dict[str, object]:
        rates = {f"{what}_rate": self.rate(what)._asdict() for what in RATES}
        return {by: int(self.name) if by == "rank" else self.name} | self.counts.model_dump() | rates


@dataclass(frozen=True)
class Comparison:
    """A canary's share of one action beside the active release's, over the same time."""

    what: str
    canary: Row
    active: Row
    since: datetime

    @property
    def p(self) -> float:
        """Probability of so great a difference by chance."""
        ours, theirs = self.canary.counts, self.active.counts
        return difference(getattr(ours, self.what), ours.shown, getattr(theirs, self.what), theirs.shown)

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "since": self.since.isoformat(),
            "canary": self.canary.name,
            "active": self.active.name,
            "canary_rate": self.canary.rate(self.what)._asdict(),
            "active_rate": self.active.rate(self.what)._asdict(),
            "p": self.p,
            "more_than_chance": self.p < _SURE,
        }

    def sentence(self) -> str:
        ours, theirs = self.canary.rate(self.what), self.active.rate(self.what)
        verdict = "more than chance" if self.p < _SURE else "may be chance"
        return (
            f"canary {self.canary.name} beside {self.active.name}, since {self.since:%Y-%m-%d %H:%M} UTC: {self.what} "
            f"{ours.value:.2%} beside {theirs.value:.2%}, p = {self.p:.2g}: {verdict}"
        )


def rows_by(settings: Settings, by: str, since: datetime | None, timeout_s: float) -> list[Row]:
    """Make a row for each release, rank or segment with recommendations since then. Raises as `outcomes`."""
    totals = added_up(outcomes(settings, since, timeout_s), _GROUPS[by])
    order = sorted(totals, key=int) if by == "rank" else sorted(totals)
    return [Row(name, totals[name]) for name in order]


def canary_comparisons(settings: Settings, timeout_s: float) -> list[Comparison]:
    """Compare clicks and watches of a running canary with those of the active release since its start.

    Counts cover ten minutes. Those in which the canary started are left out once later ones exist.
    """
    from worker.kafka.reader import read_releases

    view = read_releases(settings, timeout_s)
    if view.trial is None or view.trial.kind != "canary" or view.active is None:
        return []
    records = list(outcomes(settings, view.trial.since, timeout_s))
    later = [record for record in records if record.since >= view.trial.since]
    totals = added_up(later or records, _GROUPS["release"])
    canary, active = (
        Row(name, totals.get(name, RankOutcomes())) for name in (view.trial.release, view.active.release)
    )
    return [Comparison(what, canary, active, view.trial.since) for what in ("clicked", "watched")]
