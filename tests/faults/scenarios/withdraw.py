"""Movies are withdrawn and restored under load, while releases swap and workers and indexers are killed.

The check reads all results at the end. A window of a partition begins at the end of `profiles` when every live worker had read a
withdrawal, and ends at the end of `recommendations` before the movies were restored. A result before that end, of an event behind
that beginning, must not contain a withdrawn movie.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from producer.reader import Reader, read_to_end
from producer.withdrawals import workers_behind, write_withdrawals
from schemas.withdrawal import Withdrawal
from tests.faults.load import Draft, sound_event
from tests.faults.processes import Indexers
from tests.faults.scenario import Scenario, Size
from tests.faults.scenarios.swap import SWAP_BUDGET, Swaps, different_releases, own_collections
from tests.faults.trial import PARTITIONS, Trial
from tests.testbed.kafka import Partition, ends_of
from worker.kafka.reader import ReleasesReader

_MOVIES = 3  # withdrawn at a time: those that are recommended most
_SEEN_RESULTS = 100
_READ_SECONDS = 180.0
_REGULARS = 40


@dataclass(frozen=True)
class Result:
    """A result and the event that it answers, by their offsets in the partition that they share."""

    partition: int
    offset: int
    event: int
    movies: frozenset[int]


@dataclass(frozen=True)
class Window:
    """Movies that were withdrawn; `events` and `results` are ends of partitions when it began and when it ended."""

    movies: frozenset[int]
    events: dict[int, int]
    results: dict[int, int]

    def holds(self, result: Result) -> bool:
        """Whether the promise is about this result."""
        partition = result.partition
        return result.event >= self.events[partition] and result.offset < self.results[partition]


def broken_promises(windows: Iterable[Window], results: Sequence[Result]) -> tuple[int, list[Result]]:
    """How many results the promise is about, and those that break it."""
    looked_at = [(window, result) for window in windows for result in results if window.holds(result)]
    return len(looked_at), [result for window, result in looked_at if window.movies & result.movies]


def regular_event(event_id: str, chance: random.Random) -> Draft:
    """Half of them are profiles that come again, which the workers' cache knows."""
    if chance.random() < 0.5:
        return sound_event(event_id, chance)
    event = {
        "event_id": event_id,
        "gender": chance.choice("FM"),
        "age": chance.randint(0, _REGULARS // 2),
        "k": 5,
    }
    return Draft(event_id, json.dumps(event).encode(), "recommendation")


def withdraw_under_load(trial: Trial) -> None:
    """Withdraw the most recommended movies; swap, kill or roll back; restore; check all results at the end."""
    trial.start_workers(trial.scenario.workers)
    reader = ReleasesReader(trial.settings)
    try:
        with Indexers(trial.folder, trial.variables) as indexers:
            reader.read_to_end(_READ_SECONDS)
            swaps = Swaps(trial, indexers, reader)
            windows = [_withdrawn(trial, swaps, number) for number in range(trial.size.faults)]
            view = swaps.view.snapshot()
        trial.unexpected += indexers.unexpected
    finally:
        reader.close()
    own_collections(trial, view)
    results = _results(trial)
    looked_at, broken = broken_promises(windows, results)
    trial.notes.append(
        f"{looked_at:,} results of {len(windows)} withdrawals looked at, {len(broken)} break the promise"
    )
    if broken or not looked_at:
        trial.unexpected.append(
            f"{len(broken)} results have a withdrawn movie, {broken[:1]}; {looked_at} were looked at"
        )


def _withdrawn(trial: Trial, swaps: Swaps, number: int) -> Window:
    movies = _popular(trial)
    end = write_withdrawals(trial.settings, dict.fromkeys(movies, Withdrawal()))
    swaps.until("the withdrawal at every worker", lambda: not workers_behind(swaps.view, end))
    events = _ends(trial, trial.settings.names.profiles)
    swaps.swap(number)
    trial.progress()
    results = _ends(trial, trial.settings.names.recommendations)
    write_withdrawals(trial.settings, dict.fromkeys(movies))
    trial.injected["withdrawal"] += 1
    return Window(movies, events, results)


def _popular(trial: Trial) -> frozenset[int]:
    """The movies that are most in the results that come now."""
    seen: Counter[int] = Counter()
    read = 0
    with Reader(trial.settings, [trial.settings.names.recommendations]) as reader:

        def enough() -> bool:
            nonlocal read
            for message in reader.poll(0.1):
                seen.update(movie["movie_id"] for movie in json.loads(message.value() or b"")["movies"])
                read += 1
            return read >= _SEEN_RESULTS

        trial.until("results to see what is popular", enough)
    return frozenset(movie for movie, _ in seen.most_common(_MOVIES))


def _ends(trial: Trial, topic: str) -> dict[int, int]:
    found: dict[Partition, int] = ends_of(trial.servers.kafka.bootstrap_servers, [topic], PARTITIONS)
    return {partition: offset for (_, partition), offset in found.items()}


def _results(trial: Trial) -> list[Result]:
    results = []
    for message in read_to_end(
        trial.settings, trial.settings.names.recommendations, timeout_s=_READ_SECONDS, settled=True
    ):
        said = json.loads(message.value() or b"")
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        movies = frozenset(movie["movie_id"] for movie in said["movies"])
        results.append(Result(partition, offset, said["source"]["offset"], movies))
    return results


WITHDRAW = Scenario(
    "withdraw",
    "movies withdrawn and restored under load, while releases swap and workers and indexers are killed",
    withdraw_under_load,
    small=Size(faults=5, events=3_000),
    full=Size(faults=50, events=50_000),
    budget=SWAP_BUDGET,
    protocols=("consumer",),
    rate=100.0,
    make=regular_event,
    prepare_store=different_releases,
)
