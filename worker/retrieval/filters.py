"""Filters of a batch on the rows of a catalogue, all at once."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from schemas.profile import Filter
from worker.release.catalogue import Catalogue

Products = NDArray[np.float32]
Hide = Callable[[Products, slice], None]

# Genres are bits of words of this size. The first bit of all is set in every row, for filters without genres.
_WORD = 32
_EVERY = 1
# Above any year of a filter, so that years and their distances fit 16 bits.
_LAST_YEAR = 10_000
_ALL_YEARS = 2**16 - 1
# The bits of -inf as a float32.
_HIDDEN = np.int32(-0x800000)


class Filters:
    """The field values of one catalogue as bits; any number of threads may share it.

    A filter costs 3 µs on 4,000 rows, as arithmetic on the whole batch. A cache of masks would cost more to look up.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def hiding(self, filters: Sequence[Filter]) -> Hide:
        """A function that sets the products [m, rows] of `filters[part]`, m of them, to -inf at the rows that do not match."""
        any_of = self._words([self._any(filter_) for filter_ in filters])
        none_of = self._words([self._union(filter_.not_genres or ()) for filter_ in filters])
        years = [_years(filter_) for filter_ in filters]
        first = np.array([first for first, _ in years], np.uint16)[:, None]
        span = np.array([span for _, span in years], np.uint16)[:, None]

        def hide(products: Products, part: slice) -> None:
            # A year before `first`, an unknown year too, wraps around to a large distance.
            hidden = self._years - first[part] > span[part]
            hidden |= ~self._have(any_of[:, part])
            hidden |= self._have(none_of[:, part])
            products += np.multiply(hidden, _HIDDEN, dtype=np.int32).view(np.float32)

        return hide

    @cached_property
    def _bits(self) -> dict[str, int]:
        names = {name for genres in self._catalogue.genres for name in genres}
        return {name: 1 << number for number, name in enumerate(sorted(names), 1)}

    @cached_property
    def _genres(self) -> NDArray[np.uint32]:
        """The genres of each row as bits, [words, rows]."""
        bits = self._bits
        table = np.zeros((len(bits) // _WORD + 1, len(self._catalogue)), np.uint32)
        for row, genres in enumerate(self._catalogue.genres):
            together = _EVERY
            for name in genres:
                together |= bits[name]
            table[:, row] = [together >> shift & 0xFFFFFFFF for shift in range(0, _WORD * len(table), _WORD)]
        return table

    @cached_property
    def _years(self) -> NDArray[np.uint16]:
        return self._catalogue.years.clip(0, _LAST_YEAR).astype(np.uint16)

    def _have(self, bits: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """The rows that have any of the genres [words, m, 1], as a mask [m, rows]."""
        words = iter(zip(self._genres, bits, strict=True))
        found: NDArray[np.bool_] = np.bitwise_and(*next(words)) != 0
        for genres, of_word in words:
            found |= (genres & of_word) != 0
        return found

    def _any(self, filter_: Filter) -> int:
        """The bits of which a row must have one; 0 where no row can match."""
        if filter_.years and filter_.years[1] < 1:
            return 0  # year 0 is an unknown one
        return self._union(filter_.genres) if filter_.genres else _EVERY

    def _union(self, names: Iterable[str]) -> int:
        bits = 0
        for name in names:
            bits |= self._bits.get(name, 0)
        return bits

    def _words(self, bits: Sequence[int]) -> NDArray[np.uint32]:
        """Bits of n filters as [words, n, 1]."""
        shifts = range(0, _WORD * len(self._genres), _WORD)
        words = [[each >> shift & 0xFFFFFFFF for each in bits] for shift in shifts]
        return np.array(words, np.uint32)[:, :, None]


def _years(filter_: Filter) -> tuple[int, int]:
    """The first year that matches, and how many years after it do."""
    if not filter_.years or filter_.years[1] < 1:
        return 0, _ALL_YEARS
    first = max(filter_.years[0], 1)
    return first, filter_.years[1] - first
