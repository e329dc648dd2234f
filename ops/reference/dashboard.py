"""The Grafana dashboard, made from this list of panels: `python -m ops.reference` writes it, a test compares.

The first row answers four questions: is it keeping up, is it fast, is anything wrong, which release.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
GRID = 24  # columns

_P50 = "histogram_quantile(0.5, sum by (le) (rate(marquee_event_latency_seconds_bucket[$__rate_interval])))"
_P99 = "histogram_quantile(0.99, sum by (le) (rate(marquee_event_latency_seconds_bucket[$__rate_interval])))"

Step = tuple[str, float | None]
GOOD: Step = ("green", None)


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and what its series are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel; `steps` are the colours from a value on."""

    title: str
    description: str
    queries: Sequence[Query]
    kind: Literal["stat", "timeseries", "state-timeline", "bargauge"] = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[Step] = (GOOD,)
    stacked: bool = False
    names: bool = False  # a stat that shows its series' name


ANSWERS = (
    Panel(
        "Keeping up? Events waiting",
        "Events whose result is not committed yet: in Kafka, or being answered.",
        [Query("sum(marquee_consumer_lag)")],
        kind="stat",
        width=5,
        height=5,
        steps=(GOOD, ("yellow", 1_000), ("red", 10_000)),
    ),
    Panel(
        "Events per second",
        "Committed, recommendations and dead letters together.",
        [Query("sum(rate(marquee_events_total[$__rate_interval]))")],
        kind="stat",
        unit="cps",
        width=4,
        height=5,
    ),
    Panel(
        "Fast? 99 of 100 within",
        "From an event's timestamp to the commit of its result. Red from the target of rules.yml on.",
        [Query(_P99)],
        kind="stat",
        unit="s",
        width=5,
        height=5,
        steps=(GOOD, ("yellow", 0.5), ("red", 1)),
    ),
    Panel(
        "Anything wrong? Alerts",
        "Marquee's alerts that fire.",
        [Query('count(ALERTS{alertname=~"Marquee.+", alertstate="firing"}) or vector(0)')],
        kind="stat",
        width=5,
        height=5,
        steps=(GOOD, ("red", 1)),
    ),
    Panel(
        "Which release, since when",
        "What the workers serve; two at once are a swap under way, or workers that disagree.",
        [Query("1000 * min by (release) (marquee_active_release_timestamp_seconds)", "{{release}}")],
        kind="stat",
        unit="dateTimeFromNow",
        width=5,
        height=5,
        names=True,
    ),
)

FLOW = (
    Panel(
        "Events per second",
        "By what they ended in.",
        [Query("sum by (outcome) (rate(marquee_events_total[$__rate_interval]))", "{{outcome}}")],
        unit="cps",
        stacked=True,
    ),
    Panel(
        "Latency",
        "From an event's timestamp to the commit of its result, and the target.",
        [Query(_P50, "p50"), Query(_P99, "p99"), Query("marquee:latency_target_seconds", "target")],
        unit="s",
    ),
    Panel(
        "Events waiting, by partition",
        "One partition alone: its key is hot, or its worker is stuck.",
        [Query("sum by (partition) (marquee_consumer_lag)", "{{partition}}")],
        stacked=True,
    ),
    Panel(
        "Seconds a batch, by stage",
        "Where the time goes. Publish and commit are of a transaction, which may hold several batches.",
        [
            Query(
                "sum by (stage) (rate(marquee_stage_seconds_sum[$__rate_interval])) "
                "/ sum by (stage) (rate(marquee_stage_seconds_count[$__rate_interval]))",
                "{{stage}}",
            )
        ],
        unit="s",
    ),
    Panel(
        "Events a batch",
        "Grows with the load, up to MARQUEE_WORKER__BATCH_EVENTS.",
        [
            Query(
                "sum(rate(marquee_batch_events_sum[$__rate_interval])) "
                "/ sum(rate(marquee_batch_events_count[$__rate_interval]))",
                "mean",
            )
        ],
    ),
    Panel(
        "Batches per second, by trigger",
        "Drained: few events, none waits. Size: many.",
        [Query("sum by (trigger) (rate(marquee_batches_total[$__rate_interval]))", "{{trigger}}")],
        unit="cps",
        stacked=True,
    ),
)

TROUBLE = (
    Panel(
        "Dead letters per minute, by reason",
        "What producers send that cannot be answered.",
        [Query("60 * sum by (reason) (rate(marquee_dead_letters_total[$__rate_interval]))", "{{reason}}")],
        stacked=True,
    ),
    Panel(
        "Transactions per second, by outcome",
        "Undone: done again. Refused: halved, down to the event.",
        [Query("sum by (outcome) (rate(marquee_transactions_total[$__rate_interval]))", "{{outcome}}")],
        unit="cps",
        stacked=True,
    ),
    Panel(
        "Milvus: retries, and the exact fallback",
        "Searches tried again, per minute; workers that search their own copy meanwhile.",
        [
            Query("60 * sum(rate(marquee_search_retries_total[$__rate_interval]))", "retries"),
            Query("sum(marquee_exact_fallback_in_use)", "workers in fallback"),
        ],
    ),
    Panel(
        "Must stay 0, in this range",
        "Results that two releases had a part in; events that retention removed before they were answered.",
        [
            Query("sum(increase(marquee_release_mismatches_total[$__range]))", "mixed results"),
            Query("sum(increase(marquee_lost_offsets_total[$__range]))", "lost offsets"),
        ],
        kind="stat",
        width=6,
        steps=(GOOD, ("red", 1)),
        names=True,
    ),
    Panel(
        "Unknown users and movies per second",
        "In events, not in the release: many mean that it is time to train.",
        [Query("sum by (what) (rate(marquee_unknown_total[$__rate_interval]))", "{{what}}")],
        unit="cps",
        width=6,
    ),
    Panel(
        "Lists from the cache",
        "Hit: a profile that came before. Repeat: of another event in the batch. Miss: searched for.",
        [Query("sum by (found) (rate(marquee_cached_lists_total[$__rate_interval]))", "{{found}}")],
        unit="cps",
        stacked=True,
        width=6,
    ),
    Panel(
        "Workers",
        "That can be scraped, and the partitions that they have.",
        [Query("count(marquee_active_epoch)", "workers"), Query("count(marquee_consumer_lag)", "partitions")],
        width=6,
    ),
)

RELEASES = (
    Panel(
        "Epoch served, by worker",
        "A step is a swap.",
        [Query("marquee_active_epoch", "{{instance}}")],
        kind="state-timeline",
    ),
    Panel(
        "Indexing",
        "Share of the catalogue that is in the collection, while a release is indexed.",
        [Query("max by (release) (marquee_indexing_progress_ratio) or vector(0)", "{{release}}")],
        unit="percentunit",
    ),
    Panel(
        "Release commands in this range",
        "By what was asked for and what became of it.",
        [
            Query(
                "sum by (action, outcome) (increase(marquee_release_commands_total[$__range])) > 0 or vector(0)",
                "{{action}} {{outcome}}",
            )
        ],
        kind="bargauge",
    ),
)

MACHINE = (
    Panel(
        "CPU, by process",
        "Cores in use.",
        [Query("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}} {{instance}}")],
    ),
    Panel(
        "Memory, by process",
        "Resident.",
        [Query("process_resident_memory_bytes", "{{job}} {{instance}}")],
        unit="bytes",
    ),
    Panel(
        "Device",
        "Where the user tower runs, and which version.",
        [Query("count by (device, version) (marquee_worker_info)", "{{device}}, {{version}}")],
        kind="stat",
        names=True,
    ),
    Panel(
        "Kafka: round trip, by broker",
        "99th percentile, as the client measures it.",
        [Query("max by (broker) (marquee_kafka_round_trip_seconds)", "{{broker}}")],
        unit="s",
    ),
    Panel(
        "Kafka: received, and prefetched events",
        "No prefetched events under load: Kafka is what limits.",
        [
            Query("sum(rate(marquee_kafka_received_bytes_total[$__rate_interval]))", "bytes per second"),
            Query("sum(marquee_kafka_prefetched_events)", "prefetched events"),
        ],
    ),
    Panel(
        "Kafka: connections",
        "Rebalances, lost connections and unanswered requests per minute; brokers that are connected.",
        [
            Query("60 * sum(rate(marquee_kafka_rebalances_total[$__rate_interval]))", "rebalances"),
            Query("60 * sum(rate(marquee_kafka_disconnects_total[$__rate_interval]))", "disconnects"),
            Query("60 * sum(rate(marquee_kafka_request_timeouts_total[$__rate_interval]))", "timeouts"),
            Query("min(marquee_kafka_brokers_up)", "brokers"),
        ],
    ),
)

ROWS = {"": ANSWERS, "Flow": FLOW, "Trouble": TROUBLE, "Releases": RELEASES, "Processes": MACHINE}

SWAPS = "changes(marquee_active_epoch[$__interval]) > 0"


def dashboard() -> str:
    """The JSON that Grafana imports, or is provisioned with."""
    document = {
        "uid": "marquee",
        "title": "Marquee",
        "description": "Is it keeping up, is it fast, is anything wrong, which release?",
        "tags": ["marquee"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "annotations": {"list": [_swaps()]},
        "panels": list(_panels()),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _swaps() -> dict[str, Any]:
    return {
        "name": "Swaps",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": SWAPS,
        "titleFormat": "{{instance}} took a release over",
    }


def _panels() -> Iterator[dict[str, Any]]:
    top = number = 0
    for row, panels in ROWS.items():
        if row:
            number += 1
            yield _row(number, row, top)
            top += 1
        left = 0
        for panel in panels:
            if left + panel.width > GRID:
                left, top = 0, top + panel.height
            number += 1
            yield _panel(number, panel, left, top)
            left += panel.width
        top += panels[-1].height


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": GRID, "h": 1},
        "panels": [],
    }


def _panel(number: int, panel: Panel, left: int, top: int) -> dict[str, Any]:
    steps = [{"color": colour, "value": value} for colour, value in panel.steps]
    custom: dict[str, Any] = {"fillOpacity": 20 if panel.stacked else 0, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": None if panel.unit == "dateTimeFromNow" else 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom if panel.kind == "timeseries" else {},
            },
            "overrides": [],
        },
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or panel.title,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "auto"}
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "bargauge":
        return reduced | {"orientation": "horizontal"}
    return reduced | {
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "value_and_name" if panel.names else "value",
    }
