"""Debian's Prometheus against a live worker and a live indexer: each query of the dashboard and each rule has its metrics."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from ops.reference.dashboard import SWAPS
from schemas import kafka
from schemas.settings import Settings
from tests.system.prometheus import RULES, Prometheus
from tests.testbed.kafka import PARTITIONS
from tests.testbed.processes import Process, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "ops/dashboards/marquee.json"
RULE_TESTS = Path(__file__).with_name("rules.yml")
GOOD, BAD = 300, 7


def queries() -> list[str]:
    """Every expression of the dashboard, with Grafana's own variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [re.sub(r"\$__\w+", "30s", expression) for expression in expressions]


def alerts(rules: Path = RULES) -> list[dict[str, Any]]:
    groups = yaml.safe_load(rules.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)


def publish(settings: Settings) -> None:
    producer = Producer(kafka.producer(settings.kafka))
    for number in range(GOOD + BAD):
        value = json.dumps({"user_id": number + 1, "age": 27}).encode() if number < GOOD else b"{"
        producer.produce(settings.names.profiles, value, str(number).encode())
    assert producer.flush(60) == 0


def test_the_dashboard_and_the_rules_have_what_they_ask_for(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    # Given a release that an indexer made active, a worker that answered events, and Prometheus
    settings = lite_settings.model_copy(update={"store": fusion_store})
    with (
        Process("indexer", settings, tmp_path) as indexer,
        Process("worker", settings, tmp_path) as worker,
        Prometheus(tmp_path, {"indexer": indexer.port, "worker": worker.port}) as prometheus,
    ):
        indexer.wait_ready(300)
        # A swap is a change, so it is seen only by who has seen the epoch before it.
        wait_for("the first scrape", lambda: prometheus.value("count(marquee_active_epoch)") == 1)
        reindex = Process("reindex", settings, tmp_path, "--wait")
        assert reindex.child.wait(300) == 0, reindex.output
        worker.wait_ready(300)

        # When
        publish(settings)

        # Then each query gives series
        dead = 'sum(marquee_events_total{outcome="dead_letter"})'
        wait_for("the dead letters", lambda: prometheus.value(dead) == BAD)
        wait_for("lag", lambda: prometheus.value("count(marquee_consumer_lag)") == PARTITIONS)
        for query in (*queries(), re.sub(r"\$__\w+", "5m", SWAPS)):
            wait_for(query, lambda query=query: prometheus.query(query))  # type: ignore[misc]

        # And each rule is evaluated, and those alone fire whose reason is there
        wait_for("the rules", lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"})
        assert {rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting"} == {
            rule["alert"] for rule in alerts()
        }
        firing = 'ALERTS{alertstate="firing"}'
        wait_for("the alert", lambda: prometheus.value(f"count({firing})") == 1)
        assert prometheus.query(firing)[0]["metric"]["reason"] == "not_json"


def test_each_alert_fires_and_is_silent() -> None:
    done = promtool("test", "rules", str(RULE_TESTS))
    assert done.returncode == 0, done.stdout + done.stderr

    tested: dict[str, set[bool]] = {}
    for each in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for case in each["alert_rule_test"]:
            tested.setdefault(case["alertname"], set()).add(bool(case.get("exp_alerts")))
    assert tested == {rule["alert"]: {True, False} for rule in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda rule: str(rule["alert"]))
def test_the_tests_would_notice_a_broken_alert(alert: dict[str, Any], tmp_path: Path) -> None:
    # Given rules in which this alert asks for what never is
    broken = yaml.safe_load(RULES.read_text())
    for group in broken["groups"]:
        for rule in group["rules"]:
            if rule.get("alert") == alert["alert"]:
                rule["expr"] = "vector(0) > 1"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(broken))
    tests = yaml.safe_load(RULE_TESTS.read_text()) | {"rule_files": ["rules.yml"]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))

    done = promtool("test", "rules", str(tmp_path / "tests.yml"))

    assert done.returncode != 0
    assert alert["alert"] in done.stdout + done.stderr
