"""What the answers must be, from exact search in this process: to compare lists with, and for results of a real length."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from tests.bench.deployment import Deployment
from tests.bench.events import Draft
from tests.bench.job import Job, Received
from tests.bench.trial import KEPT_LISTS

_SAMPLE = 1_000

Lists = Mapping[int, tuple[int, ...]]  # movie ids by number of the event


class Reference:
    """Exact answers to the first events of a pool."""

    def __init__(self, deployment: Deployment, pool: Sequence[Draft], folder: Path) -> None:
        job = Job(deployment.settings, deployment.release, deployment.collection, "exact")
        topic = deployment.settings.names.profiles
        results = job.answer(
            [Received(draft.value("reference"), topic, 0, row) for row, draft in enumerate(pool[:_SAMPLE])]
        )
        self.sample = folder / "results.jsonl"
        # Without the event's id, which is the first field: the echo puts in the event's own.
        self.sample.write_bytes(b"\n".join(result[result.index(b",") + 1 :] for result in results))
        self._lists = [
            frozenset(movie["movie_id"] for movie in orjson.loads(result)["movies"])
            for result in results[:KEPT_LISTS]
        ]

    def agreement(self, lists: Lists) -> float:
        """The share of lists with the same movies; neighbours within rounding may swap at the cut."""
        same = sum(frozenset(movies) == self._lists[number] for number, movies in lists.items())
        return same / len(lists)
