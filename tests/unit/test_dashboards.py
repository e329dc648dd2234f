"""The dashboard and the alerts name metrics that exist, and each alert has a page to turn to."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from ops.reference.dashboard import GRID
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.monitoring.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "ops/dashboards/marquee.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "ops/dashboards/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
EXPRESSIONS = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])),
    *(rule["expr"] for rule in RULES),
]


def samples() -> set[str]:
    """Names as queries write them."""
    worker, indexer = CollectorRegistry(), CollectorRegistry()
    Metrics(worker)
    IndexerMetrics(indexer)
    suffixes = {
        "counter": ("_total",),
        "gauge": ("",),
        "histogram": ("_bucket", "_sum", "_count"),
        "summary": ("_sum", "_count"),
    }
    metrics = [*worker.collect(), *indexer.collect()]
    return {metric.name + suffix for metric in metrics for suffix in suffixes[metric.type]}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_in_a_query_exists(expression: str) -> None:
    assert [name for name in re.findall(r"\bmarquee_\w+", expression) if name not in samples()] == []


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < GRID, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_each_alert_has_a_page_to_turn_to(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)

    assert anchor == alert["alert"].lower()
    assert anchor in [heading.lower() for heading in headings]
    assert alert["labels"]["severity"] in ("warning", "critical")
