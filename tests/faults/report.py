"""The report of a run: scenarios, machine, versions and findings, as Markdown and JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table

from tests.faults.scenario import Budget, Result
from tests.faults.scenarios import SCENARIOS

COLUMNS = (
    "scenario",
    "injected",
    "events",
    "lost",
    "duplicated",
    "out of order",
    "wrong source",
    "mixed",
    "other",
    "verdict",
    "may, s",
    "did (longest gap), s",
    "duration, s",
)
BEYOND = "**(!)**"
_SHOWN_PARTS = ("lost", "duplicated", "out_of_order", "untrue", "mixed")
_PACKAGES = ("marquee", "confluent-kafka", "pymilvus", "milvus", "milvus-lite", "paddlepaddle")


@dataclass(frozen=True)
class Report:
    """Results, and the command that made them."""

    command: str
    results: Sequence[Result]

    def table(self) -> Table:
        """For a terminal."""
        table = Table(*COLUMNS, title="Faults")
        for result in self.results:
            table.add_row(*_cells(result))
        return table

    def write(self, path: Path) -> None:
        """Write PATH.json and PATH.md; an ending of PATH is left out."""
        stem = path.with_suffix("")
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".json").write_text(self.json() + "\n")
        stem.with_suffix(".md").write_text(self.markdown())

    def json(self) -> str:
        content = {
            "command": self.command,
            "versions": versions(),
            "machine": machine(),
            "budgets": {
                scenario: {"seconds": budget.seconds, "made_of": str(budget)}
                for scenario, budget in self._budgets().items()
            },
            "results": [asdict(result) for result in self.results],
        }
        return json.dumps(content, indent=2)

    def markdown(self) -> str:
        """For the repository."""
        lines = [
            "# Faults",
            "",
            "What `make faults` found: each scenario injects its faults while events with unique ids come in, and every event",
            "must end in exactly one committed record ([exactly once](exactly-once.md)). The command, of which `--scenario NAME`",
            "gives any line again:",
            "",
            f"    {self.command}",
            "",
            "| " + " | ".join(COLUMNS) + " |",
            "|" + "---|" * len(COLUMNS),
            *("| " + " | ".join(_cells(result)) + " |" for result in self.results),
            "",
            *(_sentence(result) for result in self.results),
            "",
            "Two readers saw what is counted here, both `read_committed`: one beside the faults, one from the beginning after",
            "them. `lost`, `duplicated`: events without a record, records too many. `out of order`: within a partition. `wrong",
            "source`: a record that does not name the event that it answers. `mixed`: a release with a collection of another.",
            "`other`: altered bytes of dead letters, wrong verdicts on poison, records of no event, what only one reader saw. The",
            "longest gap is the longest time that any one of the partitions had nothing new while faults were injected; the machine",
            "was shared with other work, so gaps and durations are what they were there, and no best case.",
            "",
            "`may` is a scenario's budget: how long one partition may have nothing new while its faults are injected, added up below from",
            f"the timeouts that such a fault runs into one after another. `did` is its longest gap; {BEYOND} marks one beyond the budget.",
            "It breaks no promise about events, so the verdict stays; the scenario's sentence says how far beyond it was, and what",
            "is known of the cause. A session timeout stands for the transaction of a dead worker, too, which the broker ends within the same",
            "time (it times out 10 s earlier, and is looked for every 10 s).",
            "",
            "| scenario | may, s | made of |",
            "|---|---|---|",
            *(
                f"| {scenario} | {budget.seconds:g} | {budget} |"
                for scenario, budget in self._budgets().items()
            ),
            "",
            "A gap of a run on Kafka 4.3.1 is not to be set beside one on 4.2.2: with 4.3.1 a KIP-848 group could be stable with",
            "partitions that nobody had, and on either a lone broker's group coordinator that loads twice can keep dead members in a",
            "group for good ([your part](exactly-once.md#your-part)); a partition then stands still",
            "until the group changes next.",
            "",
            f"Machine: {', '.join(f'{name} {value}' for name, value in machine().items())}.",
            f"Versions: {', '.join(f'{name} {value}' for name, value in versions().items())}.",
            "",
        ]
        return "\n".join(lines)

    def _budgets(self) -> dict[str, Budget]:
        found = {result.scenario: budget_of(result) for result in self.results}
        return {scenario: budget for scenario, budget in found.items() if budget is not None}


def budget_of(result: Result) -> Budget | None:
    """The budget that the scenario declares today, which counts for results of earlier days, too."""
    scenario = SCENARIOS.get(result.scenario)
    return scenario.budget if scenario else None


def beyond(result: Result) -> float:
    """The seconds of the longest gap beyond the budget; 0 within it."""
    budget = budget_of(result)
    return max(0.0, result.longest_gap_s - budget.seconds) if budget else 0.0


def published(path: Path) -> list[Result]:
    """The results of an earlier report; none where there is no such file."""
    file = path.with_suffix(".json")
    if not file.is_file():
        return []
    return [Result.read(result) for result in json.loads(file.read_text())["results"]]


def machine() -> dict[str, str]:
    """Cores that this process may use, memory, operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": str(cores),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str:
    """The commit of this code, `-dirty` where something was changed since; empty outside of a clone."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()


def versions() -> dict[str, str]:
    """Of Marquee and the parts that take part; Kafka's stands with each result."""
    from confluent_kafka import libversion

    found = {"Python": platform.python_version(), "librdkafka": libversion()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cells(result: Result) -> list[str]:
    if result.verdict == "not run":
        return [result.scenario, *["–"] * 8, result.verdict, "–", "–", "–"]
    shown = [str(result.findings.get(part, 0)) for part in _SHOWN_PARTS]
    budget = budget_of(result)
    other = sum(count for part, count in result.findings.items() if part not in _SHOWN_PARTS)
    return [
        result.scenario,
        f"{result.faults:,}",
        f"{result.events:,}",
        *shown,
        str(other),
        result.verdict,
        f"{budget.seconds:g}" if budget else "–",
        f"{result.longest_gap_s:.1f}" + (f" {BEYOND}" if beyond(result) else ""),
        f"{result.duration_s:.0f}",
    ]


def _sentence(result: Result) -> str:
    if result.verdict == "not run":
        return f"- **{result.scenario}**: not run: {result.reason}."
    exits = ", ".join(f"{count} with {code}" for code, count in sorted(result.exits.items()))
    injected = ", ".join(f"{count:,} {kind}" for kind, count in sorted(result.injected.items()))
    parts = [
        f"{result.scale}, seed {result.seed}, Kafka {result.kafka}, Milvus {result.milvus}, "
        f"commit {result.commit}, {result.date}",
        *([f"injected: {injected}"] if injected else []),
        *([f"exits of workers: {exits}"] if exits else []),
        *result.notes,
        *_about_the_gap(result),
        *([" ".join(result.reason.split())] if result.reason else []),
    ]
    return f"- **{result.scenario}**: {'; '.join(parts)}."


def _about_the_gap(result: Result) -> list[str]:
    """The sentence that a gap beyond the budget needs."""
    budget, over = budget_of(result), beyond(result)
    if budget is None or not over:
        return [result.remark] if result.remark else []
    words = f"**a partition stood still for {result.longest_gap_s:,.1f} s, {over:,.1f} s beyond the budget of {budget.seconds:g} s**"
    return [f"{words}: {result.remark or 'no cause is noted here'}"]
