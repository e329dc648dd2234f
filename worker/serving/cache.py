"""The cache of a release's lists: equal profiles get the same list for as long as the release serves."""

import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import compress
from operator import attrgetter
from threading import Lock
from typing import Any

import orjson

from schemas.profile import Filter, ProfileEvent
from schemas.recommendation import Retrieval

# The content of `movies` as it is published, and the way that it was found.
Found = tuple[bytes, Retrieval]
Key = bytes

# Bytes of an entry beside its key and list: the headers of both objects, a tuple and its share of the table, 180 to 250 by the load
# of the table.
ENTRY_BYTES = 260
DEFAULT_MAX_BYTES = 64 * 2**20

# A profile of 20 movies has 120 bytes; its digest would cost as much as the rest of its key.
_SHORT_BYTES = 200
# Shorter than any salted profile, so that no digest equals such a key. Two profiles share a digest by chance after 2^64.
_DIGEST_BYTES = 16
# Secret, so that two profiles with one digest cannot be computed elsewhere.
_SECRET = secrets.token_bytes(_DIGEST_BYTES)
_digest = partial(blake2b, digest_size=_DIGEST_BYTES)


@dataclass(slots=True)
class Lookup:
    """The lists of a batch that the cache holds, and the profiles that a search is needed for."""

    missing: Sequence[int]
    """Numbers of the profiles to search for; of equal profiles only one."""
    keys: Sequence[Key] = ()
    found: Sequence[Found | None] = ()

    @property
    def hits(self) -> int:
        return len(self.found) - self.found.count(None)

    @property
    def repeats(self) -> int:
        """Profiles that are equal to another of the batch, which the cache does not hold."""
        return self.found.count(None) - len(self.missing)


class ListCache:
    """The lists of one release. The least recently used go when they are too many, or too many bytes.

    Any number of threads may share it.
    """

    def __init__(self, size: int, max_bytes: int = DEFAULT_MAX_BYTES, *, fields: Sequence[str]) -> None:
        """Keep `size` lists, in `max_bytes` with their keys; 0 lists keeps none.

        Args:
            fields: all fields of an event that a list depends on, beside the blocklist.
        """
        self.size = size
        self.bytes = 0
        self._read = attrgetter(*fields)
        self._max_bytes = max_bytes
        self._lists: OrderedDict[Key, Found] = OrderedDict()
        self._lock = Lock()

    def look_up(self, profiles: Sequence[ProfileEvent], blocklist: frozenset[int]) -> Lookup:
        """Find the lists of n profiles. Without a cache all of them are missing."""
        if not self.size:
            return Lookup(range(len(profiles)))
        keys = self.keys(profiles, blocklist)
        found = self.find(keys)
        missing = {key: number for number, key in enumerate(keys) if found[number] is None}
        return Lookup(list(missing.values()), keys, found)

    def complete(self, lookup: Lookup, searched: Sequence[Found], *, keep: bool) -> Sequence[Found]:
        """The lists of all profiles, from those that were found and those that were searched for, which are kept if so asked."""
        if not self.size:
            return searched
        missing = [lookup.keys[number] for number in lookup.missing]
        if keep and missing:
            self.keep(missing, searched)
        fresh = dict(zip(missing, searched, strict=True))
        return [
            hit if hit is not None else fresh[key] for key, hit in zip(lookup.keys, lookup.found, strict=True)
        ]

    def keys(self, profiles: Iterable[ProfileEvent], blocklist: frozenset[int]) -> list[Key]:
        """For each profile everything that its list depends on, as a digest where that is long. Equal only for equal ones."""
        salt, read = _salt(blocklist), self._read
        return [
            salt + fields if len(fields) <= _SHORT_BYTES else _digest(fields, salt=salt).digest()
            for fields in (orjson.dumps(read(profile), _filter) for profile in profiles)
        ]

    def find(self, keys: Sequence[Key]) -> list[Found | None]:
        """The list of each key, or None. Those found count as used."""
        with self._lock:
            found = list(map(self._lists.get, keys))
            deque(map(self._lists.move_to_end, compress(keys, found)), maxlen=0)
        return found

    def keep(self, keys: Sequence[Key], lists: Sequence[Found]) -> None:
        """Keep the lists of these keys."""
        with self._lock:
            for key, found in zip(keys, lists, strict=True):
                if key in self._lists:  # another thread searched for the same
                    self.bytes -= _bytes_of(key, self._lists.pop(key))
                self._lists[key] = found
                self.bytes += _bytes_of(key, found)
            while len(self._lists) > self.size or self.bytes > self._max_bytes:
                self.bytes -= _bytes_of(*self._lists.popitem(last=False))


@lru_cache(maxsize=4)  # as many blocklists as batches in flight may have
def _salt(blocklist: frozenset[int]) -> bytes:
    """A salt that differs for each blocklist."""
    return _digest(orjson.dumps(sorted(blocklist)), key=_SECRET).digest()


def _bytes_of(key: Key, found: Found) -> int:
    return len(key) + len(found[0]) + ENTRY_BYTES


def _filter(filter_: Any) -> tuple[Any, ...]:
    assert isinstance(filter_, Filter)
    return (filter_.genres, filter_.not_genres, filter_.years)
