"""The run: servers up, everybody in turn, curves, three nodes, and nothing left running."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ops.local.milvus import MilvusStandalone
from ops.local.process import LOG_TAIL
from schemas.errors import MarqueeError
from tests.bench import contenders
from tests.bench.contenders import HEADLINE, MARQUEE, Contender
from tests.bench.cores import Setup
from tests.bench.deployment import Deployment, Servers, deploy, servers
from tests.bench.figures import Point, Results, Round
from tests.bench.job import Reference
from tests.bench.limits import measure_limits
from tests.bench.measurement import Measured, Pace, measure
from tests.bench.plan import CURVES, Plan, Step, interleaved, steps_of
from tests.bench.profile import Profile
from tests.bench.profile import profile as sample
from tests.bench.workload import Draft, bench_store, drafts
from worker.release.store import ReleaseStore

PARTS = ("shared", "pinned", "replicated", *CURVES)
# Drains of three brokers before those that count.
_WARMING = 2
LIMITS = "limits"  # Milvus alone, among the contenders that `only` names
NAMES = (*PARTS, LIMITS, *(each.name for each in contenders.everybody(Path(), 0)))


@dataclass
class Bench:
    """One run in a folder; `only` names parts and contenders, everything of the plan where it is empty."""

    directory: Path
    plan: Plan
    only: frozenset[str]
    batch_events: int
    say: Callable[[str], None]
    results: Results = field(default_factory=Results)
    _reached: dict[str, float] = field(default_factory=dict)

    def run(self) -> Results:
        """Everything that was asked for; what fails is noted, and the rest goes on.

        Raises:
            MarqueeError: servers or the release could not be had.
        """
        with self._milvus() as milvus:
            with self.deployed(milvus) as (running, deployment):
                self._shared(deployment)
                self._pinned(running, deployment)
                for curve in CURVES:
                    if self._wanted(curve):
                        self._grow(running, deployment, curve)
            if self._wanted("replicated"):
                self._replicated(milvus)
        return self.results

    def profile(self) -> Profile:
        """Where the worker's CPU goes at full load. Raises as `run`."""
        store = bench_store(self.directory)
        with self._milvus() as milvus, self.deployed(milvus) as (_, deployment):
            self.say("sampling the worker at full load")
            return sample(deployment, _pool(store), MARQUEE.expected, self.plan.profile_seconds, self._logs)

    @property
    def _logs(self) -> Path:
        return self.directory / "logs"

    @contextmanager
    def _milvus(self) -> Iterator[MilvusStandalone]:
        """A new server, without data of earlier runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="milvus-", dir=self.directory) as folder:
            self.say("starting Milvus")
            with MilvusStandalone(Path(folder)) as milvus:
                yield milvus

    @contextmanager
    def deployed(self, milvus: MilvusStandalone, nodes: int = 1) -> Iterator[tuple[Servers, Deployment]]:
        """Kafka of so many nodes, and a release of ml-1m's sizes that is indexed there."""
        self.say(f"starting Kafka ({nodes} node{'s' * (nodes > 1)}), indexing")
        with (
            TemporaryDirectory(prefix="kafka-", dir=self.directory) as folder,
            servers(Path(folder), milvus, nodes) as running,
        ):
            yield running, self._deploy(running, bench_store(self.directory))

    def _deploy(self, running: Servers, store: str, partitions: int = 12) -> Deployment:
        prefix = f"bench-{time.time_ns():x}."
        return deploy(running, self._logs, store, prefix=prefix, partitions=partitions)

    def _wanted(self, part: str) -> bool:
        parts = self.only & set(PARTS)
        return part in parts if parts else self.plan.growth or part not in CURVES

    # Rounds.

    def _shared(self, deployment: Deployment) -> None:
        if not self._wanted("shared"):
            return
        pool = _pool(bench_store(self.directory))
        reference = Reference(deployment, pool, self.directory)
        everybody = contenders.everybody(reference.sample, self.batch_events)
        # A new broker still compiles its code: transactions of few events take ten times as long.
        self._attempt("shared, warming", MARQUEE, deployment, pool, self.plan.warming)
        self._rounds("shared", deployment, pool, everybody, self.plan.rounds, self.plan.pace, reference)
        self._rounds(
            "shared",
            deployment,
            pool,
            everybody[:HEADLINE],
            self.plan.headline_rounds,
            self._without_latency,
        )

    def _pinned(self, running: Servers, deployment: Deployment) -> None:
        if not self._wanted("pinned"):
            return
        running.arrange("pinned")
        pool = _pool(bench_store(self.directory))
        self._rounds("pinned", deployment, pool, [MARQUEE], self.plan.pinned_rounds, self._without_latency)
        running.arrange("shared")

    @property
    def _without_latency(self) -> Pace:
        return Pace(self.plan.pace.drain)

    def _rounds(
        self,
        setup: Setup,
        deployment: Deployment,
        pool: Sequence[Draft],
        everybody: Sequence[Contender],
        rounds: int,
        pace: Pace,
        reference: Reference | None = None,
    ) -> None:
        named = self.only - set(PARTS)
        members = [each for each in everybody if not named or each.name in named]
        for number, order in interleaved(members, rounds):
            part, this = f"{setup}, round {number + 1}", Round(setup)
            self.results.rounds.append(this)
            if not named or LIMITS in named:
                self._limits(part, this, deployment)
            for contender in order:
                run = self._attempt(part, contender, deployment, pool, pace)
                if run:
                    this.measured[contender.name] = run
                if run and run.lists and reference:
                    self.results.agreement[contender.name] = reference.agreement(run.lists)

    def _limits(self, part: str, this: Round, deployment: Deployment) -> None:
        try:
            this.limits = measure_limits(deployment, self.batch_events, self.plan.ceiling_seconds, self._logs)
            self.say(f"{part}: Milvus alone {this.limits.best.events_per_second:,.0f}/s")
        except MarqueeError as error:
            self._failed(part, LIMITS, error)

    def _attempt(
        self,
        part: str,
        contender: Contender,
        deployment: Deployment,
        pool: Sequence[Draft],
        pace: Pace,
        *,
        expected: float | None = None,
        workers: int = 1,
    ) -> Measured | None:
        """Run it once; None where it failed."""
        expected = expected or self._expected(contender)
        try:
            run = measure(contender, deployment, pool, pace, self._logs, expected=expected, workers=workers)
        except MarqueeError as error:
            self._failed(part, contender.name, error)
            return None
        self._reached.setdefault(contender.name, run.events_per_second)
        self.say(f"{part}: {run}")
        return run

    def _expected(self, contender: Contender) -> float:
        """The measured rate, or before the first run the expected rate, scaled by the speed of the warming run.

        Laid out for a quick one, a drain of three seconds takes ten on a slow one.
        """
        speed = self._reached.get(MARQUEE.name, MARQUEE.expected) / MARQUEE.expected
        return self._reached.get(contender.name) or contender.expected * min(1.0, speed)

    def _failed(self, part: str, name: str, error: MarqueeError) -> None:
        # The report is kept, and is no place for the end of a log and its path on this machine.
        self.results.failures[f"{part}: {name}"] = str(error).partition(LOG_TAIL)[0]
        self.say(f"{part}: {name} failed: {error}")

    # Curves, and three nodes.

    def _grow(self, running: Servers, deployment: Deployment, curve: str) -> None:
        for step in steps_of(curve, self.plan.most_movies):
            part = f"{curve} {step.x:,}"
            try:
                there, pool = self._place(running, deployment, step)
            except MarqueeError as error:
                self._failed(part, step.contender.name, error)
                continue
            run = self._attempt(
                part,
                step.contender,
                there,
                pool,
                self._without_latency,
                expected=step.expected,
                workers=step.workers,
            )
            if run:
                self.results.points.append(Point(curve, step.x, run))

    def _place(self, running: Servers, deployment: Deployment, step: Step) -> tuple[Deployment, list[Draft]]:
        """Where a point is measured, and with which events."""
        store = bench_store(self.directory)
        if step.movies:
            store = bench_store(self.directory, step.movies)
        elif step.history is not None:
            # Its user tower reads the history; fusion's does not.
            store = bench_store(self.directory, kind="sequence")
        if store != deployment.settings.store or step.partitions != deployment.settings.kafka.partitions:
            deployment = self._deploy(running, store, step.partitions)
        return deployment, _pool(store, step.history)

    def _replicated(self, milvus: MilvusStandalone) -> None:
        pool = _pool(bench_store(self.directory))
        with self.deployed(milvus, nodes=3) as (_, deployment):
            # These brokers have only just begun, and those of the one node had run for minutes before they were measured.
            for _ in range(_WARMING):
                self._attempt("replicated, warming", MARQUEE, deployment, pool, self._without_latency)
            for number in range(self.plan.rounds):
                part = f"replicated, round {number + 1}"
                run = self._attempt(part, MARQUEE, deployment, pool, self._without_latency)
                if run:
                    self.results.replicated.append(run)


def _pool(store: str, history: int | None = None) -> list[Draft]:
    """Events of the people and movies of a store's release."""
    releases = ReleaseStore(store)
    release = releases.load(releases.names()[-1], device="cpu")
    movies = release.catalogue.movie_ids.tolist()
    return drafts(release.features.vocabularies.users, movies, history=history)
