"""Answers to profiles that come again: a release gives the same person the same list for as long as it serves."""

from collections.abc import Hashable, Iterable, Sequence
from itertools import islice
from threading import Lock

from schemas.profile import ProfileEvent
from schemas.recommendation import Retrieval

# A list as it is published (the inside of `movies`), and where it comes from.
Found = tuple[bytes, Retrieval]


class ListCache:
    """The lists of one release, by profile; of so many that the oldest go. Any number of threads may share it."""

    def __init__(self, size: int) -> None:
        """Keep `size` lists; 0 keeps none."""
        self.size = size
        self._lists: dict[Hashable, Found] = {}
        self._lock = Lock()

    def find(self, keys: Iterable[Hashable]) -> list[Found | None]:
        """The list of each profile, or None."""
        return list(map(self._lists.get, keys))

    def keep(self, keys: Sequence[Hashable], lists: Sequence[Found]) -> None:
        """Keep the lists of these profiles."""
        with self._lock:
            self._lists.update(zip(keys, lists, strict=True))
            for key in list(islice(self._lists, max(0, len(self._lists) - self.size))):
                del self._lists[key]


def profile_key(profile: ProfileEvent) -> Hashable:
    """All that a list follows from: events that differ in nothing of it get the same."""
    return (
        profile.user_id,
        profile.gender,
        profile.age,
        profile.occupation,
        tuple(profile.recent or ()),
        profile.k,
        tuple(profile.exclude or ()),
        profile.filter,
    )
