"""A row for everybody who was measured: medians over the rounds of one set-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.cores import Setup
from tests.bench.results import Results
from tests.bench.statistics import Spread
from tests.bench.trial import Measured

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
        """What a table shows, in the order of COLUMNS."""
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
        {text: found for name, text in RATES.items() if (found := _latency(runs, name)) is not None},
    )


def _latency(runs: Sequence[Measured], name: str) -> tuple[float, float] | None:
    found = [run.latencies[name] for run in runs if name in run.latencies]
    pairs = [(each.p50_ms, each.p99_ms) for each in found if not each.unanswered]
    whole = [(p50, p99) for p50, p99 in pairs if p50 is not None and p99 is not None]
    return (median(p50 for p50, _ in whole), median(p99 for _, p99 in whole)) if whole else None
