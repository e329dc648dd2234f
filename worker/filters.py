"""Which movies of a catalogue qualify: a filter as penalties on its rows, and as an expression for Milvus."""

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.profile import Filter
from worker.catalogue import Catalogue

Penalties = NDArray[np.float32]

# Of penalties, bytes kept: traffic names few filters over and over.
_KEPT_BYTES = 32 * 1024 * 1024


class Filters:
    """The filters of one catalogue; any number of threads may share it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        kept = max(16, _KEPT_BYTES // (4 * max(1, len(catalogue))))
        self.penalties: Callable[[Filter], Penalties] = lru_cache(kept)(self._penalties)
        """What a filter adds to the products of the catalogue's rows, [movies]: 0, or -inf where one does not qualify."""

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.intp]]:
        rows: dict[str, list[int]] = {}
        for row, genres in enumerate(self._catalogue.genres):
            for genre in genres:
                rows.setdefault(genre, []).append(row)
        return {genre: np.array(of_genre) for genre, of_genre in rows.items()}

    def _penalties(self, filter_: Filter) -> Penalties:
        qualifies = np.full(len(self._catalogue), not filter_.genres)
        for genre in set(filter_.genres or ()) & self._rows.keys():
            qualifies[self._rows[genre]] = True
        for genre in set(filter_.not_genres or ()) & self._rows.keys():
            qualifies[self._rows[genre]] = False
        if filter_.years:
            first, last = filter_.years
            years = self._catalogue.years
            qualifies &= (years >= max(first, 1)) & (years <= last)  # 0 is an unknown year
        return np.where(qualifies, np.float32(0), np.float32(-np.inf))


def expression(filter_: Filter) -> str:
    """The filter as Milvus takes it, over the fields `genres` and `year` of a collection."""
    clauses = []
    if filter_.genres:
        clauses.append(f"array_contains_any(genres, {orjson.dumps(filter_.genres).decode()})")
    if filter_.not_genres:
        clauses.append(f"not array_contains_any(genres, {orjson.dumps(filter_.not_genres).decode()})")
    if filter_.years:
        clauses.append(f"year >= {max(filter_.years[0], 1)} and year <= {filter_.years[1]}")
    return " and ".join(clauses)
