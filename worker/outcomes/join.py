"""The join of recommendations with what people did with them: in memory, bounded, and the same however it is interleaved.

A pair counts when the later of the two is read for the first time. Which pairs there are follows from what was read, and not
from the order: so whoever reads the last day again, counting nothing, stands where its predecessor stood.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from schemas.feedback import ACTIONS, BUCKET_SECONDS, Action, OutcomesRecord, RankOutcomes

WINDOW_MS = 24 * 60 * 60 * 1_000
_DIGEST_BYTES = 12  # of an event id: two of a million that are alike are one chance in 10^17
_SHOWN = 1 << ACTIONS.index("shown")

Key = tuple[int, str, str]  # beginning in seconds since 1970, release, segment


@dataclass(slots=True)
class _Remembered:
    """One recommendation, and which actions on which of its movies were counted, a bit each."""

    at_ms: int
    key: Key
    movies: bytes  # ids, int64
    done: int = 0


@dataclass(slots=True)
class _Pending:
    """Feedback on a recommendation that was not read yet."""

    movie_id: int
    action: Action
    at_ms: int


@dataclass
class Counts:
    """How often feedback came to nothing, and why; and what was counted."""

    joined: int = 0
    unmatched: int = 0  # no recommendation of that id within the window
    late: int = 0
    not_in_list: int = 0


@dataclass
class Join:
    """Not thread-safe. `remembered` bounds the recommendations that are kept, and the feedback that waits for one."""

    remember: int
    records: dict[Key, list[RankOutcomes]] = field(default_factory=dict)
    changed: set[Key] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    _remembered: OrderedDict[bytes, _Remembered] = field(default_factory=OrderedDict)
    _pending: OrderedDict[bytes, list[_Pending]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._remembered)

    def restore(self, record: OutcomesRecord) -> None:
        """Go on from what was counted before."""
        key = int(record.since.timestamp()), record.release, record.segment
        self.records[key] = [rank.model_copy() for rank in record.ranks]

    def recommendation(
        self, event_id: str, release: str, segment: str, movies: Sequence[int], at_ms: int, *, new: bool
    ) -> None:
        """Take in a recommendation, published at `at_ms`; of several with one id, the first is who feedback is about."""
        key = at_ms // 1_000 // BUCKET_SECONDS * BUCKET_SECONDS, release, segment
        if new:
            for rank in range(len(movies)):
                self._rank(key, rank).recommended += 1
            if movies:  # of an empty list there is nothing to write
                self.changed.add(key)
        digest = _digest(event_id)
        if digest in self._remembered:
            return
        one = self._remembered[digest] = _Remembered(at_ms, key, np.array(movies, np.int64).tobytes())
        for waiting in self._pending.pop(digest, ()):
            self._count(one, waiting, new)
        if len(self._remembered) > self.remember:
            self._remembered.popitem(last=False)

    def feedback(self, event_id: str, movie_id: int, action: Action, at_ms: int, *, new: bool) -> None:
        """Take in what somebody did, published at `at_ms`."""
        digest, what = _digest(event_id), _Pending(movie_id, action, at_ms)
        one = self._remembered.get(digest)
        if one is not None:
            self._count(one, what, new)
            return
        self._pending.setdefault(digest, []).append(what)
        if len(self._pending) > self.remember:
            self._drop_pending()

    def committed(self, read_to_ms: int) -> None:
        """What was counted is final, and everything that was published before that moment was read."""
        self.changed.clear()
        self._forget(read_to_ms - WINDOW_MS)

    def _forget(self, before_ms: int) -> None:
        """Let go of what was published before that: no feedback on it counts any more."""
        while self._remembered and next(iter(self._remembered.values())).at_ms < before_ms:
            self._remembered.popitem(last=False)
        while self._pending and next(iter(self._pending.values()))[0].at_ms < before_ms:
            self._drop_pending()
        oldest = before_ms // 1_000 - BUCKET_SECONDS
        for key in [key for key in self.records if key[0] < oldest and key not in self.changed]:
            del self.records[key]

    def record(self, key: Key) -> OutcomesRecord:
        """What was counted under a key, as it is published."""
        since, release, segment = key
        return OutcomesRecord(
            since=datetime.fromtimestamp(since, UTC),
            release=release,
            segment=segment,
            ranks=self.records[key],
        )

    def _drop_pending(self) -> None:
        _, dropped = self._pending.popitem(last=False)
        self.counts.unmatched += len(dropped)

    def _count(self, one: _Remembered, what: _Pending, new: bool) -> None:
        if what.at_ms - one.at_ms > WINDOW_MS:
            self.counts.late += new
            return
        places = np.flatnonzero(np.frombuffer(one.movies, np.int64) == what.movie_id)
        if not len(places):
            self.counts.not_in_list += new
            return
        rank = int(places[0])
        bits = (1 << ACTIONS.index(what.action)) | _SHOWN
        fresh = (bits << rank * len(ACTIONS)) & ~one.done
        one.done |= fresh
        if not new:
            return
        self.counts.joined += 1
        outcomes = self._rank(one.key, rank)
        for number, action in enumerate(ACTIONS):
            if fresh >> (rank * len(ACTIONS) + number) & 1:
                setattr(outcomes, action, getattr(outcomes, action) + 1)
                self.changed.add(one.key)

    def _rank(self, key: Key, rank: int) -> RankOutcomes:
        ranks = self.records.setdefault(key, [])
        while len(ranks) <= rank:
            ranks.append(RankOutcomes())
        return ranks[rank]


def _digest(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).digest()
