"""What was measured, as it came: rounds, points of curves, and what failed."""

from dataclasses import dataclass, field

from tests.bench.cores import Setup
from tests.bench.limits import Limits
from tests.bench.trial import Measured


@dataclass
class Round:
    """Everybody's run of one round, by name, and Milvus' limits in the same minutes."""

    setup: Setup
    measured: dict[str, Measured] = field(default_factory=dict)
    limits: Limits | None = None

    @property
    def ceiling(self) -> float | None:
        """The best that Milvus alone did, in events/s."""
        return self.limits.best.events_per_second if self.limits else None

    def rate(self, name: str) -> float | None:
        """What somebody reached, in events/s."""
        return self.measured[name].events_per_second if name in self.measured else None


@dataclass(frozen=True)
class Point:
    """One point of a growth curve."""

    curve: str
    x: int
    measured: Measured


@dataclass
class Results:
    """All of a run; `replicated` is Marquee on three nodes, `agreement` the share of lists equal to exact search's."""

    rounds: list[Round] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    replicated: list[Measured] = field(default_factory=list)
    agreement: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def of(self, setup: Setup) -> list[Round]:
        return [each for each in self.rounds if each.setup == setup]

    def runs(self, setup: Setup, name: str) -> list[Measured]:
        """Somebody's runs, in order."""
        return [each.measured[name] for each in self.of(setup) if name in each.measured]
