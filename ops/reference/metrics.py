"""Makes docs/metrics.md, with every metric of each process, from the collectors."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.monitoring.metrics import Metrics
from worker.monitoring.outcomes_metrics import OutcomesMetrics

_ABOUT = (
    "At `/metrics` of each process, by Prometheus' conventions: base units, counters end in `_total`, histograms have "
    "`_bucket`, `_sum` and `_count`. Times are Unix seconds. If the values of a label are known in advance, each starts "
    "at 0. `…_created` (start of a counter or histogram), `process_…` and `python_…` come from the Python client "
    "(CPU seconds, resident memory, open files). [operating.md](operating.md#alerts) has the alerts, `ops/dashboards/` the dashboard."
)


def metrics_page(made: str) -> str:
    """Make the page; `made` is the line about its origin."""
    worker, indexer, outcomes = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    Metrics(worker)
    IndexerMetrics(indexer)
    OutcomesMetrics(outcomes)
    lines = ["# Metrics", made, "", _ABOUT]
    for process, registry in (("worker", worker), ("indexer", indexer), ("outcomes worker", outcomes)):
        lines += ["", f"## The {process}", "", "| metric | type | labels | what |", "|---|---|---|---|"]
        lines += [_row(metric, _labels(registry, metric)) for metric in sorted(registry.collect(), key=_name)]
    return "\n".join(lines) + "\n"


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _row(metric: Metric, labels: dict[str, list[str]]) -> str:
    shown = "; ".join(
        f"`{label}`" + (f": {', '.join(values)}" if values else "") for label, values in labels.items()
    )
    return f"| `{_name(metric)}` | {metric.type} | {shown} | {metric.documentation} |"


def _labels(registry: CollectorRegistry, metric: Metric) -> dict[str, list[str]]:
    """List the labels of a metric, each with its values at the start."""
    names = next(_label_names(registry, metric), ())
    return {
        name: list(dict.fromkeys(sample.labels[name] for sample in metric.samples if name in sample.labels))
        for name in names
    }


def _label_names(registry: CollectorRegistry, metric: Metric) -> Iterator[tuple[str, ...]]:
    """Read private fields of the client: no other place has the labels of a metric without samples."""
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase) and collector._name == metric.name:
            yield tuple(collector._labelnames)
