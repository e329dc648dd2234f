"""Releases of different dimensions take over from each other under constant load, while workers and indexers are killed."""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from producer.commands import send_command
from schemas.release import Action, CommandOutcome, ReleaseCommand
from schemas.releases import ReleasesView
from tests.faults.latency import Span, latencies
from tests.faults.processes import Indexers
from tests.faults.recompute import differences, samples
from tests.faults.scenario import Scenario, Size, may
from tests.faults.scenarios.waits import SESSION, TAKE_OVER
from tests.faults.trial import PARTITIONS, Trial, TrialError
from tests.testbed.kafka import ends_of
from worker.kafka.reader import ReleasesReader
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus

_DIMENSIONS = (64, 32)  # beside the suite's fusion release, which has 200
_QUIET_SECONDS = 3.0
_AFTER_SWAP_SECONDS = 0.5
_SAMPLES = 1_000
_OUTCOME_SECONDS = 180.0
_CLEAN_SECONDS = 120.0
# What happens beside every how manieth swap; the report's figures of latency leave those with a kill out.
_PLAN: dict[str, tuple[int, int]] = {
    "kill -9 worker": (5, 1),
    "kill -9 indexer": (5, 3),
    "SIGSTOP indexer": (10, 4),
    "canary": (4, 2),
    "command repeated": (3, 0),
}
_DEADLY = {"kill -9 worker", "kill -9 indexer", "SIGSTOP indexer"}


def different_releases(store: str, folder: Path, seed: int) -> str:
    """A copy of the suite's store with more releases, each of another dimension, metric and catalogue."""
    from ops.data.generate import Sizes, generate
    from ops.data.movielens import load
    from ops.evaluation.holdout import Source
    from ops.training.hyperparameters import SequenceHyperparameters
    from ops.training.train import train_sequence

    copy, data = folder / "store", folder / "data"
    if not copy.exists():
        shutil.copytree(store, copy)
        generate(data, seed=seed, sizes=Sizes(users=150, movies=500, ratings=8_000))
        for dimension in _DIMENSIONS:
            hyper = SequenceHyperparameters(epochs=1, blocks=1, dimension=dimension, seed=seed)
            train_sequence(Source(load(data), data), ReleaseStore(str(copy)), hyper)
    return str(copy)


class Swaps:
    """The course of a run."""

    def __init__(self, trial: Trial, indexers: Indexers, reader: ReleasesReader) -> None:
        self._trial, self._indexers, self._reader = trial, indexers, reader
        self._releases = ReleaseStore(trial.settings.store).names()
        self.spans: dict[str, list[Span]] = {"index": [], "rollback": [], "quiet": []}

    @property
    def view(self) -> ReleasesView:
        self._reader.poll(0)
        return self._reader.view

    def swap(self, number: int) -> None:
        """One release takes over from another, whatever happens meanwhile."""
        trial, before = self._trial, self.view.epoch
        beside = [what for what, (every, at) in _PLAN.items() if number % every == at]
        began = time.time()
        if "canary" in beside:
            self._canary()
        began = time.time()
        command = self._command()
        send_command(trial.settings, command)
        self._break(beside)
        if "command repeated" in beside:
            send_command(trial.settings, command)
        self._carried_out(command)
        epoch = self.view.epoch
        if epoch != before + 1:
            raise TrialError(f"swap: epoch {epoch} follows {before}")
        self.until("every worker's swap", lambda: self._all_serve(epoch))
        trial.injected["swap"] += 1
        self.wait(_AFTER_SWAP_SECONDS)
        if _DEADLY & set(beside):
            self._recover()
            return
        self.spans["index" if command.action == "index" else "rollback"].append((began, time.time()))
        began = time.time()
        self.wait(_QUIET_SECONDS)
        self.spans["quiet"].append((began, time.time()))

    def _command(self) -> ReleaseCommand:
        """Activate another release, after a build or with its existing collection."""
        active = self.view.active
        assert active is not None
        target = self._trial.chance.choice([name for name in self._releases if name != active.release])
        record = self.view.releases.get(target)
        built = record is not None and record.collection is not None
        action: Action = "rollback" if built and self._trial.chance.random() < 0.5 else "index"
        return ReleaseCommand(action=action, release=target, force=True, expected_epoch=self.view.epoch)

    def _break(self, beside: list[str]) -> None:
        trial = self._trial
        if _DEADLY & set(beside):
            self.wait(trial.chance.uniform(0.0, 3.0))
        if "kill -9 worker" in beside:
            trial.somebody_at_work().child.kill()
        if "kill -9 indexer" in beside:
            self._indexers.kill(trial.chance)
        if "SIGSTOP indexer" in beside:
            self._indexers.stop(trial.chance)
        for what in beside:
            trial.injected[what] += 1

    def _canary(self) -> None:
        """A share of the keys goes to a candidate for a while."""
        active = self.view.active
        assert active is not None
        target = self._trial.chance.choice([name for name in self._releases if name != active.release])
        for command in (
            ReleaseCommand(action="canary", release=target, share=0.3, force=True),
            ReleaseCommand(action="end", release=target),
        ):
            send_command(self._trial.settings, command)
            self._carried_out(command)
            self.wait(_QUIET_SECONDS / 2)

    def _carried_out(self, command: ReleaseCommand) -> CommandOutcome:
        found: list[CommandOutcome] = []

        def known() -> bool:
            outcome = self.view.outcome(command.command_id)
            found.extend([outcome[1]] if outcome else [])
            return bool(found)

        self.until(f"the outcome of {command.action} {command.release}", known, _OUTCOME_SECONDS)
        if found[0].outcome != "done":
            raise TrialError(
                f"swap: {command.action} of {command.release} was {found[0].outcome}: {found[0].reason}"
            )
        return found[0]

    def _all_serve(self, epoch: int) -> bool:
        workers = self.view.workers
        return all(
            worker.name in workers and workers[worker.name].epoch == epoch for worker in self._trial.wanted
        )

    def _recover(self) -> None:
        """Wait until the killed work is done, and no indexer is stopped."""
        self.until("the zombie's waking", lambda: not self._indexers.anybody_stopped)
        self.until("the end of the backlog", lambda: self._behind() < self._trial.scenario.rate)
        self.wait(_AFTER_SWAP_SECONDS)

    def _behind(self) -> int:
        return len(self._trial.load.sent) - len(self._trial.reader.outcomes)

    def wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self._indexers.look()
            self._trial.wait(min(0.1, max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                return

    def until(self, what: str, done: Callable[[], bool], seconds: float = _OUTCOME_SECONDS) -> None:
        def look_and_see() -> bool:
            self._indexers.look()
            return done()

        self._trial.until(what, look_and_see, seconds)


def swap_under_load(trial: Trial) -> None:
    """Swap, check for leftovers, and recompute a sample of the results."""
    trial.start_workers(trial.scenario.workers)
    reader = ReleasesReader(trial.settings)
    try:
        with Indexers(trial.folder, trial.variables) as indexers:
            reader.read_to_end(_OUTCOME_SECONDS)
            swaps = Swaps(trial, indexers, reader)
            for number in range(trial.size.faults):
                swaps.swap(number)
            _clean(trial, swaps)
            view = swaps.view.snapshot()
        trial.unexpected += indexers.unexpected
        exits = ", ".join(f"{count} with {code}" for code, count in sorted(indexers.exits.items()))
        trial.notes.append(f"exits of indexers before the end: {exits or 'none'}")
    finally:
        reader.close()
    own_collections(trial, view)
    _note_latencies(trial, swaps.spans)
    _recompute(trial)


def own_collections(trial: Trial, view: ReleasesView) -> None:
    """Set the collections of every attempt of each release."""
    names = trial.settings.names
    trial.collections = {
        release: {names.collection(release, attempt) for attempt in range(1, record.attempt + 1)}
        for release, record in view.releases.items()
    }


def _clean(trial: Trial, swaps: Swaps) -> None:
    """Check that every collection is named by a record, so that crashes left none."""
    milvus = Milvus(trial.settings.milvus)

    def clean() -> bool:
        named = {record.collection for record in swaps.view.releases.values()}
        return set(milvus.list(trial.settings.names.collection_prefix)) <= named

    try:
        swaps.until("the end of what crashes left behind", clean, _CLEAN_SECONDS)
    finally:
        milvus.close()
    mismatches = sum(worker.metric("marquee_release_mismatches_total") for worker in trial.wanted)
    trial.notes.append(f"marquee_release_mismatches_total {mismatches:.0f}, no half-built collection left")
    if mismatches:
        trial.unexpected.append(f"{mismatches:.0f} results were made by two releases")


def _note_latencies(trial: Trial, spans: dict[str, list[Span]]) -> None:
    named = {
        "during swaps that build": spans["index"],
        "during swaps to what is built": spans["rollback"],
        "during any swap": spans["index"] + spans["rollback"],
        "between swaps": spans["quiet"],
    }
    for name, moments in named.items():
        found = latencies(trial.load.sent, trial.reader.outcomes, moments)
        if found:
            trial.notes.append(f"latency {name}: {found}")


def _recompute(trial: Trial) -> None:
    """A sample of the results, made again from the release that each names alone."""
    names, servers = trial.settings.names, trial.servers.kafka.bootstrap_servers
    ends = ends_of(servers, [names.profiles, names.recommendations], PARTITIONS)
    one_of = max(1, len(trial.reader.outcomes) // _SAMPLES)
    sampled = samples(servers, names.profiles, names.recommendations, ends, one_of)
    found = list(differences(ReleaseStore(trial.settings.store), sampled))
    by_release = Counter(sample.result["release"] for sample in sampled)
    trial.notes.append(
        f"{len(sampled):,} results of {len(by_release)} releases recomputed from the named one alone, {len(found)} differ"
    )
    trial.unexpected += [f"{len(found)} results are not their release's own: {found[0]}"] if found else []


SWAP_BUDGET = may(SESSION, TAKE_OVER, why="Of a worker that is killed; a swap itself stops nobody.")
SWAP = Scenario(
    "swap",
    "releases of different dimensions swapped under load, with kills of workers and indexers, canaries, commands twice",
    swap_under_load,
    small=Size(faults=5, events=3_000),
    full=Size(faults=52, events=50_000),
    budget=SWAP_BUDGET,
    protocols=("consumer",),
    rate=100.0,
    prepare_store=different_releases,
)
