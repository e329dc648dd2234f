"""From what was measured to the figures that are asked for: medians over rounds, ratios within rounds."""

from collections.abc import Callable, Mapping, Sequence

from tests.bench.contenders import EXACT, EXACT_PEER, MARQUEE, PEERS, SEED
from tests.bench.cores import Setup
from tests.bench.results import Results, Round
from tests.bench.statistics import Spread, ratios

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

# Whichever of these is less is what is to be reached.
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
    """Whether the median of a figure is what is to be reached."""
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
