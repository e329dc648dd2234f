"""The report of a run: figures, tables and plots, with the command, the versions, the machine and the date."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.table import Table

from ops.local.java import KAFKA_VERSION
from tests.bench.figures import BOUNDS, COLUMNS, EITHER, TARGETS, Results, Row, reached, rows, spreads
from tests.bench.plots import write_plots
from tests.bench.statistics import Spread
from tests.faults.report import commit, machine
from tests.faults.report import versions as versions_of_packages
from tests.testbed.command import make_command

_FIGURES = ("figure", "median", "lowest–highest", "rounds", "to reach", "reached")
# What follows this line in PATH.md was written by a person, and is kept.
_BY_HAND = "<!-- by hand -->"
_POINTS = ("curve", "at", "who", "events/s", "CPU s per million")
_SETUPS = {
    "shared": "Shared: everything on all cores",
    "pinned": "Pinned: Milvus on one core, everything else on another",
}


def command_line(quick: bool, only: Sequence[str]) -> str:
    """The command that measures the same."""
    options = [*(["--quick"] if quick else []), *(part for name in only for part in ("--only", name))]
    return make_command("bench", options)


def versions() -> dict[str, str]:
    """The versions of all parts."""
    return {"Kafka": KAFKA_VERSION} | versions_of_packages()


@dataclass(frozen=True)
class Report:
    """Results, the command that gave them, when it ended and how long it took."""

    command: str
    results: Results
    date: str
    seconds: float

    @classmethod
    def of(cls, command: str, results: Results, seconds: float) -> "Report":
        return cls(command, results, datetime.now(UTC).isoformat(timespec="seconds"), round(seconds, 1))

    @cached_property
    def figures(self) -> dict[str, Spread | None]:
        return spreads(self.results)

    def json(self) -> str:
        """One object: the median of each figure by its name, and all that it was made of."""
        content = {name: found and found.median for name, found in self.figures.items()}
        about = {
            "command": self.command,
            "date": self.date,
            "seconds": self.seconds,
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "spreads": {name: found and asdict(found) for name, found in self.figures.items()},
            "results": self._measured(),
        }
        return json.dumps(content | about, indent=2)

    def _measured(self) -> dict[str, Any]:
        """All that was measured, but for the lists, of which only the agreement is of interest."""
        content = asdict(self.results)
        runs = [run for each in content["rounds"] for run in each["measured"].values()]
        for run in [*runs, *content["replicated"], *(point["measured"] for point in content["points"])]:
            del run["lists"]
        return content

    def tables(self) -> list[Table]:
        """For a terminal."""
        return [_table(title, columns, cells) for title, columns, cells in self._parts() if cells]

    def write(self, path: Path) -> None:
        """Write PATH.json, PATH.md and the plots beside them; an ending of PATH is left out."""
        stem = path.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").write_text(self.json() + "\n")
        plots = write_plots(stem, rows(self.results, "shared"), self._ceiling, self.results.points)
        page = stem.with_suffix(".md")
        _, mark, by_hand = page.read_text().partition(_BY_HAND) if page.exists() else ("", "", "")
        page.write_text(self._markdown(plots) + (f"\n{mark}{by_hand}" if mark else ""))

    @property
    def _ceiling(self) -> float | None:
        found = Spread.of([each.ceiling for each in self.results.of("shared") if each.ceiling is not None])
        return found.median if found else None

    def _parts(self) -> Iterable[tuple[str, Sequence[str], list[list[str]]]]:
        yield (
            "Figures",
            _FIGURES,
            [self._figure(name, found) for name, found in self.figures.items() if found],
        )
        for setup, title in _SETUPS.items():
            yield title, COLUMNS, [row.cells for row in self._rows(setup)]
        yield (
            "Milvus alone",
            ("set-up", "in flight", "events/s", "client's CPU s per million"),
            self._limits(),
        )
        yield "Growth", _POINTS, self._points()

    def _figure(self, name: str, found: Spread) -> list[str]:
        wanted = f"≥ {TARGETS[name]:,g}" if name in TARGETS else f"≤ {BOUNDS[name]:,g}"
        if name in EITHER:
            wanted += " (one of the two)"
        span = f"{_number(found.lowest)}–{_number(found.highest)}"
        cells = [name, _number(found.median), span, str(found.repetitions), wanted]
        return [*cells, "yes" if reached(name, self.figures) else "no"]

    def _rows(self, setup: str) -> list[Row]:
        return rows(self.results, "pinned" if setup == "pinned" else "shared")

    def _limits(self) -> list[list[str]]:
        """One line for each set-up and concurrency, medians over the rounds."""
        found: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for each in self.results.rounds:
            for ceiling in each.limits.ceilings if each.limits else ():
                key = (each.setup, ceiling.concurrency)
                found.setdefault(key, []).append((ceiling.events_per_second, ceiling.cpu_us_per_event))
        return [
            [setup, str(concurrency), _spread([rate for rate, _ in runs]), _spread([cpu for _, cpu in runs])]
            for (setup, concurrency), runs in found.items()
        ]

    def _points(self) -> list[list[str]]:
        return [
            [
                point.curve,
                f"{point.x:,}",
                point.measured.title,
                f"{point.measured.events_per_second:,.0f}",
                f"{point.measured.cpu_us_per_event:.1f}",
            ]
            for point in self.results.points
        ]

    def _markdown(self, plots: Sequence[Path]) -> str:
        lines = [
            "# Speed",
            "",
            f"`{self.command}`, {self.date}, commit {commit()}, {self.seconds:,.0f} s.",
            f"Machine: {', '.join(f'{name} {value}' for name, value in machine().items())}.",
            f"Versions: {', '.join(f'{name} {value}' for name, value in versions().items())}.",
            "",
        ]
        for title, columns, cells in self._parts():
            if cells:
                lines += [f"## {title}", "", *_markdown_table(columns, cells), ""]
        lines += [f"![{path.stem}]({path.name})" for path in plots]
        agreed = ", ".join(f"{name} {share:.0%}" for name, share in self.results.agreement.items())
        if agreed:
            lines += ["", f"Lists with the same movies as exact search: {agreed}."]
        lines += [f"- {part} failed: {' '.join(why.split())}" for part, why in self.results.failures.items()]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    found = Spread.of(values)
    return (
        "–"
        if found is None
        else f"{_number(found.median)} ({_number(found.lowest)}–{_number(found.highest)})"
    )


def _table(title: str, columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in cells:
        table.add_row(*row)
    return table


def _markdown_table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in cells),
    ]
