"""Debian's Prometheus, as a process that scrapes a test's workers and evaluates the rules."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from ops.local.ports import free_port

RULES = Path(__file__).parents[2] / "ops/dashboards/rules.yml"


class Prometheus:
    """Scrapes every second; `targets` are ports on this machine by job."""

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, port in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with (folder / "prometheus.log").open("wb") as log:
            self._child = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; none while it does not answer yet. A refused expression fails."""
        answer = self._get("query", query=expression)
        return list(answer["result"]) if answer else []

    def value(self, expression: str) -> float | None:
        """The value of the one series of a query."""
        series = self.query(expression)
        return float(series[0]["value"][1]) if len(series) == 1 else None

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health and state."""
        answer = self._get("rules")
        return [rule for group in answer["groups"] for rule in group["rules"]] if answer else []

    def _get(self, path: str, **parameters: str) -> dict[str, Any] | None:
        address = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            with error:
                body = error.read().decode()
            if error.code == 503:  # it starts
                return None
            raise AssertionError(f"{parameters}: {body}") from None
        except OSError:
            return None
