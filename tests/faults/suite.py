"""Runs scenarios one after another; each result is kept in the suite's folder, so that a run can be taken up again."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ops.local.java import KAFKA_VERSION
from ops.local.up import MilvusKind
from tests.faults.reckoning import reckon
from tests.faults.report import commit
from tests.faults.scenario import Result, Scale, Scenario
from tests.faults.servers import Servers
from tests.faults.trial import Trial, TrialError
from tests.testbed.releases import trained_store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suite:
    """What to run, and where."""

    directory: Path
    scale: Scale = "small"
    milvus: MilvusKind = "standalone"
    seed: int = 1

    def run(self, scenarios: Sequence[Scenario], report: Callable[[Result], None]) -> list[Result]:
        """Run the scenarios without a result; the results of all, in order, each also passed to `report`."""
        results = []
        for scenario in scenarios:
            result = self._kept(scenario) or self._run(scenario)
            report(result)
            results.append(result)
        return results

    def kept(self, scenarios: Sequence[Scenario], published: Sequence[Result] = ()) -> list[Result]:
        """The results that there are, else those published before, and of each scenario without one that it was not run."""
        before = {result.scenario: result for result in published if self._made(result)}
        return [
            self._kept(scenario) or before.get(scenario.name) or self._not_run(scenario)
            for scenario in scenarios
        ]

    def _made(self, result: Result) -> bool:
        """Whether this suite would make the result: of the same size, with the same seed and servers."""
        return (result.scale, result.seed, result.milvus) == (self.scale, self.seed, self.milvus)

    def _not_run(self, scenario: Scenario, reason: str = "no result at this size yet") -> Result:
        return Result(
            scenario.name,
            "not run",
            self.scale,
            self.seed,
            self.milvus,
            reason=reason,
        )

    def _file(self, scenario: Scenario) -> Path:
        return self.directory / "results" / f"{scenario.name}-{self.scale}-{self.milvus}-{self.seed}.json"

    def _kept(self, scenario: Scenario) -> Result | None:
        file = self._file(scenario)
        return Result.read(json.loads(file.read_text())) if file.is_file() else None

    def _run(self, scenario: Scenario) -> Result:
        obstacle = scenario.obstacle()
        if obstacle:
            return self._not_run(scenario, obstacle)
        store = trained_store(self.directory, self.seed)
        folder = self.directory / scenario.name
        # New ones each time: a broker that is killed among the topics of all the others takes long to come back.
        home = folder / f"servers-{time.time_ns():x}"
        with Servers(
            home,
            milvus=self.milvus,
            nodes=scenario.nodes,
            disk_mb=scenario.disk_mb,
            separate=scenario.separate,
        ) as servers:
            result = run_scenario(scenario, servers, store, folder, scale=self.scale, seed=self.seed)
        if result.verdict == "kept":  # else the brokers' logs are needed to find the cause
            shutil.rmtree(home)
        file = self._file(scenario)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(result), indent=2) + "\n")
        return result


def run_scenario(
    scenario: Scenario,
    servers: Servers,
    store: str,
    folder: Path,
    *,
    scale: Scale = "small",
    seed: int = 1,
    variables: dict[str, str] | None = None,
    patches: tuple[str, ...] = (),
) -> Result:
    """Run one scenario on servers that run.

    `variables` go to the workers; `patches` (`module:function`) are called in each before it starts, to break it.
    """
    trial = Trial(
        scenario,
        scenario.size(scale),
        servers,
        scenario.prepare_store(store, folder, seed),
        folder,
        seed=seed,
        variables=variables,
        patches=patches,
    )
    began, date = time.monotonic(), _now()
    reason, events, findings, examples = "", 0, {}, []
    try:
        trial.prepare()
        scenario.run(trial)
        found = reckon(trial)
        events, findings, examples = found.events, found.broken, found.examples
    except TrialError as error:
        reason = str(error)
    finally:
        trial.close()
    reason = " ".join([reason, *trial.unexpected]).strip()
    return Result(
        scenario.name,
        "BROKEN" if findings or reason else "kept",
        scale,
        seed,
        servers.milvus_kind,
        reason,
        dict(trial.injected),
        events,
        findings,
        examples,
        dict(trial.exits),
        trial.notes,
        round(trial.longest_gap_s, 1),
        round(time.monotonic() - began, 1),
        date,
        commit(),
        KAFKA_VERSION,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
