"""Which movies of a catalogue qualify: a filter as penalties on its rows, and as an expression for Milvus."""

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.profile import Filter
from worker.catalogue import Catalogue

Penalties = NDArray[np.float32]
_Mask = NDArray[np.bool_]

# Of masks and of penalties, bytes kept: traffic names few genres and few filters over and over.
_KEPT_BYTES = 32 * 1024 * 1024
# The bits of -inf as a float32.
_HIDDEN = np.int32(-0x800000)


class Filters:
    """The filters of one catalogue; any number of threads may share it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._years = catalogue.years.astype(np.int16)
        self._genres = catalogue.genres
        kept = max(16, _KEPT_BYTES // (4 * max(1, len(catalogue))))
        self._of_genre: Callable[[str], _Mask] = lru_cache(kept)(self._genre_mask)
        self.penalties: Callable[[Filter], Penalties] = lru_cache(kept)(self._penalties)
        """What a filter adds to the products of the catalogue's rows, [movies]: 0, or -inf where one does not qualify."""

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.intp]]:
        rows: dict[str, list[int]] = {}
        for row, genres in enumerate(self._genres):
            for genre in genres:
                rows.setdefault(genre, []).append(row)
        return {genre: np.array(of_genre) for genre, of_genre in rows.items()}

    def _genre_mask(self, genre: str) -> _Mask:
        mask = np.zeros(len(self._genres), np.bool_)
        mask[self._rows[genre]] = True
        return mask

    def _any(self, genres: Iterable[str]) -> _Mask:
        """Which rows have any of the genres."""
        mask = np.zeros(len(self._genres), np.bool_)
        for genre in self._rows.keys() & set(genres):
            mask |= self._of_genre(genre)
        return mask

    def _penalties(self, filter_: Filter) -> Penalties:
        hidden = self._any(filter_.not_genres or ())
        if filter_.genres:
            hidden |= ~self._any(filter_.genres)
        if filter_.years:
            first, last = filter_.years
            hidden |= self._years < max(first, 1)  # 0 is an unknown year
            hidden |= self._years > last
        return np.multiply(hidden, _HIDDEN, dtype=np.int32).view(np.float32)


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
