"""The Grafana dashboard, made from `ops/dashboards/panels.toml`.

Its first row answers four questions: is it keeping up, is it fast, is anything wrong, which release.
"""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PANELS = Path(__file__).parents[1] / "dashboards" / "panels.toml"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
GRID = 24  # columns
Panel = dict[str, Any]
_DEFAULTS: Panel = {
    "kind": "timeseries",
    "unit": "short",
    "width": 8,
    "height": 8,
    "steps": [["green"]],
    "stacked": False,
    "names": False,  # a stat shows the name of its series
}

SWAPS = "changes(marquee_active_epoch[$__interval]) > 0"


def dashboard() -> str:
    """Format the JSON that Grafana imports, or is provisioned with."""
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
        "titleFormat": "{{instance}} swapped to a release",
    }


def _panels() -> Iterator[dict[str, Any]]:
    top = number = 0
    for row in tomllib.loads(PANELS.read_text(encoding="utf-8"))["row"]:
        if row["title"]:
            number += 1
            yield _row(number, row["title"], top)
            top += 1
        left = 0
        for panel in (_DEFAULTS | own for own in row["panel"]):
            if left + panel["width"] > GRID:
                left, top = 0, top + panel["height"]
            number += 1
            yield _panel(number, panel, left, top)
            left += panel["width"]
        top += panel["height"]


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
    return {
        "id": number,
        "type": panel["kind"],
        "title": panel["title"],
        "description": panel["description"],
        "datasource": DATASOURCE,
        "gridPos": {"x": left, "y": top, "w": panel["width"], "h": panel["height"]},
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query["expression"],
                "legendFormat": query.get("legend") or panel["title"],
            }
            for index, query in enumerate(panel["queries"])
        ],
    }


def _field(panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 20 if panel["stacked"] else 0, "showPoints": "never"}
    if panel["stacked"]:
        custom["stacking"] = {"mode": "normal"}
    steps = [{"color": colour, "value": value[0] if value else None} for colour, *value in panel["steps"]]
    return {
        "unit": panel["unit"],
        "min": None if panel["unit"] == "dateTimeFromNow" else 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": custom if panel["kind"] == "timeseries" else {},
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel["kind"] == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel["kind"] == "state-timeline":
        return {"mergeValues": True, "showValue": "auto"}
    reduced = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel["kind"] == "bargauge":
        return reduced | {"orientation": "horizontal"}
    return reduced | {
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "value_and_name" if panel["names"] else "value",
    }
