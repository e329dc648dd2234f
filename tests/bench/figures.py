"""Measurements of rounds, curves and failures, and the figures made from them: medians over rounds, ratios within rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.contenders import EXACT, EXACT_PEER, MARQUEE, PEERS, SEED
from tests.bench.cores import Setup
from tests.bench.limits import Limits
from tests.bench.measurement import Measured
from tests.bench.statistics import Spread, ratios


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


# Better is more of the first, and less of the second.
TARGETS = {
    "milvus_pinned_ratio": 0.95,
    "milvus_shared_ratio": 0.80,
    "over_seed": 30.0,
    "over_best_peer": 4.0,
    "exact_over_peer": 4.0,
    "exact_events_per_second": 50_000.0,
    "exact_over_echo": 0.25,
    "replicated_ratio": 0.80,
}
BOUNDS = {
    "cpu_us_per_event": 15.0,
    "p50_ms_at_100": 8.0,
    "p99_ms_at_100": 20.0,
    "p50_ms_at_half": 20.0,
    "p99_ms_at_half": 60.0,
}

# The smaller of these two is the target.
EITHER = ("exact_events_per_second", "exact_over_echo")

Rate = Callable[[Round], float | None]


def spreads(results: Results) -> dict[str, Spread | None]:
    """Each figure by its name in `--json`; None where its parts were not run."""
    shared, pinned = results.of("shared"), results.of("pinned")
    marquee = _rate(MARQUEE.name)
    return {
        "milvus_pinned_ratio": _ratio(pinned, marquee, lambda each: each.ceiling),
        "milvus_shared_ratio": _ratio(shared, marquee, lambda each: each.ceiling),
        "over_seed": _ratio(shared, marquee, _rate(SEED.name)),
        "over_best_peer": _ratio(shared, marquee, _best_peer),
        "exact_over_peer": _ratio(shared, _rate(EXACT.name), _rate(EXACT_PEER.name)),
        "exact_events_per_second": Spread.of(
            [run.events_per_second for run in results.runs("shared", EXACT.name)]
        ),
        "exact_over_echo": _ratio(shared, _rate(EXACT.name), _rate("echo")),
        "cpu_us_per_event": _cpu_beside_embed_and_search(results),
        "p50_ms_at_100": _latency(results, "slow", "p50_ms"),
        "p99_ms_at_100": _latency(results, "slow", "p99_ms"),
        "p50_ms_at_half": _latency(results, "half", "p50_ms"),
        "p99_ms_at_half": _latency(results, "half", "p99_ms"),
        "replicated_ratio": _replicated(results),
    }


def reached(name: str, found: Mapping[str, Spread | None]) -> bool:
    """Whether the median of a figure reaches its target."""
    return any(_reached(other, found.get(other)) for other in (EITHER if name in EITHER else (name,)))


def _reached(name: str, spread: Spread | None) -> bool:
    if spread is None:
        return False
    return spread.median >= TARGETS[name] if name in TARGETS else spread.median <= BOUNDS[name]


def _rate(name: str) -> Rate:
    return lambda each: each.rate(name)


def _best_peer(each: Round) -> float | None:
    return max((rate for peer in PEERS if (rate := each.rate(peer.name))), default=None)


def _ratio(rounds: Sequence[Round], over: Rate, under: Rate) -> Spread | None:
    pairs = [(a, b) for each in rounds if (a := over(each)) is not None and (b := under(each)) is not None]
    return Spread.of(ratios([a for a, _ in pairs], [b for _, b in pairs]))


def _cpu_beside_embed_and_search(results: Results) -> Spread | None:
    """The worker's CPU less what embedding and the search's client take alone, at the same batch size, in the same round."""
    found = []
    for each in results.of("shared"):
        run = each.measured.get(MARQUEE.name)
        if run and each.limits:
            search = each.limits.best.cpu_us_per_event
            found.append(run.cpu_us_per_event - search - each.limits.embed_us_per_event)
    return Spread.of(found)


def _latency(results: Results, rate: str, quantile: str, setup: Setup = "shared") -> Spread | None:
    runs = results.runs(setup, MARQUEE.name)
    found = [getattr(run.latencies[rate], quantile) for run in runs if rate in run.latencies]
    return Spread.of([value for value in found if value is not None])


def _replicated(results: Results) -> Spread | None:
    """Over the median of the one-node runs: they cannot be in the same round."""
    one = Spread.of([run.events_per_second for run in results.runs("shared", MARQUEE.name)])
    if one is None:
        return None
    return Spread.of([run.events_per_second / one.median for run in results.replicated])


# The rates of the latencies, as a person reads them.
RATES = {"slow": "100/s", "half": "half of maximum", "ninety": "90 % of maximum"}


@dataclass(frozen=True)
class Row:
    """Latencies are (p50, p99) in milliseconds by rate; a rate at which events were left without a result is missing."""

    name: str
    title: str
    delivery: str
    rate: Spread
    cpu_us_per_event: float
    peak_mb: float
    latencies: dict[str, tuple[float, float]]

    @property
    def label(self) -> str:
        return f"{self.title}, {self.delivery}"

    @property
    def is_ours(self) -> bool:
        return self.title.startswith("Marquee")

    @property
    def cells(self) -> list[str]:
        """A line of a table, in the order of COLUMNS."""
        spread = f" ({self.rate.lowest:,.0f}–{self.rate.highest:,.0f})" if self.rate.repetitions > 1 else ""
        latencies = [self.latencies.get(text) for text in RATES.values()]
        return [
            self.title,
            self.delivery,
            f"{self.rate.median:,.0f}{spread}",
            f"{self.cpu_us_per_event:.1f}",
            f"{self.peak_mb:,.0f}",
            *(f"{found[0]:,.1f} / {found[1]:,.1f}" if found else "–" for found in latencies),
        ]


COLUMNS = (
    "who",
    "delivery",
    "events/s",
    "CPU s per million",
    "peak memory, MB",
    *(f"p50 / p99 at {text}, ms" for text in RATES.values()),
)


def rows(results: Results, setup: Setup) -> list[Row]:
    """Everybody of a set-up, in the order of their first run."""
    names = dict.fromkeys(name for each in results.of(setup) for name in each.measured)
    return [_row(results.runs(setup, name)) for name in names]


def _row(runs: Sequence[Measured]) -> Row:
    rate = Spread.of([run.events_per_second for run in runs])
    assert rate is not None  # there is a run for every name
    return Row(
        runs[0].contender,
        runs[0].title,
        runs[0].delivery,
        rate,
        median(run.cpu_us_per_event for run in runs),
        max(run.peak_mb for run in runs),
        {text: found for name, text in RATES.items() if (found := _percentiles(runs, name)) is not None},
    )


def _percentiles(runs: Sequence[Measured], name: str) -> tuple[float, float] | None:
    found = [run.latencies[name] for run in runs if name in run.latencies]
    pairs = [(each.p50_ms, each.p99_ms) for each in found if not each.unanswered]
    whole = [(p50, p99) for p50, p99 in pairs if p50 is not None and p99 is not None]
    return (median(p50 for p50, _ in whole), median(p99 for _, p99 in whole)) if whole else None
