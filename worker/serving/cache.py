"""Answers to profiles that come again: a release gives the same person the same list for as long as it serves."""

import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import compress
from operator import attrgetter
from threading import Lock
from typing import Any

import orjson

from schemas.profile import Filter, ProfileEvent
from schemas.recommendation import Retrieval

# A list as it is published (the inside of `movies`), and where it comes from.
Found = tuple[bytes, Retrieval]
Key = bytes

# Beside the bytes of key and list, an entry holds the headers of both, a tuple and its places in the table: 180 to 250 bytes, as
# full as the table is.
ENTRY_BYTES = 260
DEFAULT_MAX_BYTES = 64 * 2**20

# A profile of 20 movies has 120: to make its digest would cost as much as the rest of its key.
_SHORT_BYTES = 200
# Longer than this is every profile, so that no digest is another one's key. Two profiles share a digest by chance after 2^64.
_DIGEST_BYTES = 16
# Unknown outside of this process: two profiles of one digest cannot be computed elsewhere.
_SECRET = secrets.token_bytes(_DIGEST_BYTES)
_digest = partial(blake2b, digest_size=_DIGEST_BYTES)
# All that a list follows from, beside the release and the movies that are withheld.
_asked = attrgetter("user_id", "gender", "age", "occupation", "recent", "k", "exclude", "filter")


class ListCache:
    """The lists of one release, by profile; of so many, or so many bytes, that those unused the longest go.

    Any number of threads may share it.
    """

    def __init__(self, size: int, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Keep `size` lists, in `max_bytes` with their keys; 0 lists keeps none."""
        self.size = size
        self.bytes = 0
        self._max_bytes = max_bytes
        self._lists: OrderedDict[Key, Found] = OrderedDict()
        self._lock = Lock()

    def find(self, keys: Sequence[Key]) -> list[Found | None]:
        """The list of each profile, or None; those found are the last to go."""
        with self._lock:
            found = list(map(self._lists.get, keys))
            deque(map(self._lists.move_to_end, compress(keys, found)), maxlen=0)
        return found

    def keep(self, keys: Sequence[Key], lists: Sequence[Found]) -> None:
        """Keep the lists of these profiles."""
        with self._lock:
            for key, found in zip(keys, lists, strict=True):
                if key in self._lists:  # another thread searched for the same
                    self.bytes -= _bytes_of(key, self._lists.pop(key))
                self._lists[key] = found
                self.bytes += _bytes_of(key, found)
            while len(self._lists) > self.size or self.bytes > self._max_bytes:
                self.bytes -= _bytes_of(*self._lists.popitem(last=False))


def list_keys(profiles: Iterable[ProfileEvent], withheld: frozenset[int]) -> list[Key]:
    """For each profile all that its list follows from, as a digest where that is long; the same for equal ones alone."""
    salt = _salt(withheld)
    return [
        salt + asked if len(asked) <= _SHORT_BYTES else _digest(asked, salt=salt).digest()
        for asked in (orjson.dumps(_asked(profile), _filter) for profile in profiles)
    ]


@lru_cache(maxsize=4)  # as many sets as batches under way may have begun with
def _salt(withheld: frozenset[int]) -> bytes:
    """Another one for each set of withheld movies."""
    return _digest(orjson.dumps(sorted(withheld)), key=_SECRET).digest()


def _bytes_of(key: Key, found: Found) -> int:
    return len(key) + len(found[0]) + ENTRY_BYTES


def _filter(filter_: Any) -> tuple[Any, ...]:
    assert isinstance(filter_, Filter)
    return (filter_.genres, filter_.not_genres, filter_.years)
