"""The join of results with feedback: in memory, bounded, and independent of the order in which records are read.

A pair counts when the later of its two records is read for the first time. The pairs follow from the records that were read,
so a process that reads the last day again without counting has the state of its predecessor.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from schemas.feedback import ACTIONS, BUCKET_SECONDS, Action, OutcomesRecord, RankOutcomes

WINDOW_MS = 24 * 60 * 60 * 1_000
_DIGEST_BYTES = 12  # of an event id; two of a million ids collide once in 10^17
_SHOWN = 1 << ACTIONS.index("shown")

Key = tuple[int, str, str]  # start in seconds since 1970, release, segment


@dataclass(slots=True)
class _Result:
    """A result, and a bit for each action on each of its movies that was counted."""

    at_ms: int
    key: Key
    movies: bytes  # ids, int64
    counted: int = 0


@dataclass(slots=True)
class _Feedback:
    """Feedback, perhaps on a result that was not read yet."""

    movie_id: int
    action: Action
    at_ms: int


@dataclass
class Counts:
    """Feedback that was counted, and feedback that was not, by reason."""

    joined: int = 0
    unmatched: int = 0  # no result with that id within the window
    late: int = 0
    not_in_list: int = 0


@dataclass
class Join:
    """Not thread-safe. `remember` bounds the results that are kept, and the feedback that waits for one."""

    remember: int
    changed: set[Key] = field(default_factory=set)
    _ranks: dict[Key, list[RankOutcomes]] = field(default_factory=dict)
    _counts: Counts = field(default_factory=Counts)
    _results: OrderedDict[bytes, _Result] = field(default_factory=OrderedDict)
    _waiting: OrderedDict[bytes, list[_Feedback]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._results)

    def restore(self, record: OutcomesRecord) -> None:
        """Continue with the counts of a predecessor."""
        key = int(record.since.timestamp()), record.release, record.segment
        self._ranks[key] = [rank.model_copy() for rank in record.ranks]

    def recommendation(
        self, event_id: str, release: str, segment: str, movies: Sequence[int], at_ms: int, *, new: bool
    ) -> None:
        """Add a result, published at `at_ms`. Feedback belongs to the first of several results with one id."""
        key = at_ms // 1_000 // BUCKET_SECONDS * BUCKET_SECONDS, release, segment
        if new:
            for rank in range(len(movies)):
                self._rank(key, rank).recommended += 1
            if movies:  # an empty list has no ranks to write
                self.changed.add(key)
        digest = _digest(event_id)
        if digest in self._results:
            return
        result = self._results[digest] = _Result(at_ms, key, np.array(movies, np.int64).tobytes())
        for feedback in self._waiting.pop(digest, ()):
            self._count(result, feedback, new)
        if len(self._results) > self.remember:
            self._results.popitem(last=False)

    def feedback(self, event_id: str, movie_id: int, action: Action, at_ms: int, *, new: bool) -> None:
        """Add feedback, published at `at_ms`."""
        digest, feedback = _digest(event_id), _Feedback(movie_id, action, at_ms)
        result = self._results.get(digest)
        if result is not None:
            self._count(result, feedback, new)
            return
        self._waiting.setdefault(digest, []).append(feedback)
        if len(self._waiting) > self.remember:
            self._drop_waiting()

    def committed(self, read_to_ms: int) -> Counts:
        """Note that all counts are committed, and forget results that are out of the window.

        Every record that was published before `read_to_ms` was read. Returns the counts since the last commit.
        """
        self.changed.clear()
        self._forget(read_to_ms - WINDOW_MS)
        counts, self._counts = self._counts, Counts()
        return counts

    def record(self, key: Key) -> OutcomesRecord:
        """The counts of a key, as they are published."""
        since, release, segment = key
        return OutcomesRecord(
            since=datetime.fromtimestamp(since, UTC), release=release, segment=segment, ranks=self._ranks[key]
        )

    def records(self) -> Iterator[OutcomesRecord]:
        """The counts of the last day."""
        return map(self.record, self._ranks)

    def _forget(self, before_ms: int) -> None:
        while self._results and next(iter(self._results.values())).at_ms < before_ms:
            self._results.popitem(last=False)
        while self._waiting and next(iter(self._waiting.values()))[0].at_ms < before_ms:
            self._drop_waiting()
        oldest = before_ms // 1_000 - BUCKET_SECONDS
        for key in [key for key in self._ranks if key[0] < oldest]:
            del self._ranks[key]

    def _drop_waiting(self) -> None:
        _, dropped = self._waiting.popitem(last=False)
        self._counts.unmatched += len(dropped)

    def _count(self, result: _Result, feedback: _Feedback, new: bool) -> None:
        if feedback.at_ms - result.at_ms > WINDOW_MS:
            self._counts.late += new
            return
        ranks = np.flatnonzero(np.frombuffer(result.movies, np.int64) == feedback.movie_id)
        if not len(ranks):
            self._counts.not_in_list += new
            return
        rank = int(ranks[0])
        bits = (1 << ACTIONS.index(feedback.action)) | _SHOWN
        fresh = (bits << rank * len(ACTIONS)) & ~result.counted
        result.counted |= fresh
        if not new:
            return
        self._counts.joined += 1
        outcomes = self._rank(result.key, rank)
        for number, action in enumerate(ACTIONS):
            if fresh >> (rank * len(ACTIONS) + number) & 1:
                setattr(outcomes, action, getattr(outcomes, action) + 1)
                self.changed.add(result.key)

    def _rank(self, key: Key, rank: int) -> RankOutcomes:
        ranks = self._ranks.setdefault(key, [])
        while len(ranks) <= rank:
            ranks.append(RankOutcomes())
        return ranks[rank]


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()
