"""Which movies of a catalogue qualify: the filters of a batch at once on its rows, and one as an expression for Milvus."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.profile import Filter
from worker.release.catalogue import Catalogue

Products = NDArray[np.float32]
Hide = Callable[[Products, slice], None]

# Genres are bits of words like this one; the first bit of all is every movie's, for who asks for no genre.
_WORD = 32
_EVERY = 1
# Above any year that an event may name, so that years and their distances fit 16 bits.
_LAST_YEAR = 10_000
_ALL_YEARS = 2**16 - 1
# The bits of -inf as a float32.
_HIDDEN = np.int32(-0x800000)


class Filters:
    """The filters of one catalogue; any number of threads may share it.

    Filters are told apart by arithmetic on whole batches, 3 µs each on 4,000 movies: to make a mask of each and keep
    those that come again costs more than that to find one, and ten times as much where none comes again.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        numbers = {name: number for number, name in enumerate(sorted(_names(catalogue)), 1)}
        self._bits = {name: 1 << number for name, number in numbers.items()}
        self._genres = np.zeros((len(numbers) // _WORD + 1, len(catalogue)), np.uint32)
        self._genres[0] = _EVERY
        for row, genres in enumerate(catalogue.genres):
            for name in genres:
                word, bit = divmod(numbers[name], _WORD)
                self._genres[word, row] |= np.uint32(1 << bit)
        self._years = catalogue.years.clip(0, _LAST_YEAR).astype(np.uint16)

    def asked(self, filters: Sequence[Filter]) -> Hide:
        """What sets to -inf, in products [m, movies], the movies that do not qualify for `filters[part]`, m of them."""
        any_of = self._words([self._any(filter_) for filter_ in filters])
        none_of = self._words([self._union(filter_.not_genres or ()) for filter_ in filters])
        years = [_years(filter_) for filter_ in filters]
        first = np.array([first for first, _ in years], np.uint16)[:, None]
        span = np.array([span for _, span in years], np.uint16)[:, None]

        def hide(products: Products, part: slice) -> None:
            # What is before `first`, unknown years among it, wraps around and is far away as well.
            hidden = self._years - first[part] > span[part]
            hidden |= ~self._have(any_of[:, part])
            hidden |= self._have(none_of[:, part])
            products += np.multiply(hidden, _HIDDEN, dtype=np.int32).view(np.float32)

        return hide

    def _have(self, bits: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which movies have any of the genres [words, m, 1], [m, movies]."""
        words = iter(zip(self._genres, bits, strict=True))
        found: NDArray[np.bool_] = np.bitwise_and(*next(words)) != 0
        for genres, of_word in words:
            found |= (genres & of_word) != 0
        return found

    def _any(self, filter_: Filter) -> int:
        """The bits of which a movie must have one; none where no movie can qualify."""
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


def _names(catalogue: Catalogue) -> set[str]:
    return {name for genres in catalogue.genres for name in genres}


def _years(filter_: Filter) -> tuple[int, int]:
    """The first year that qualifies, and how many after it do."""
    if not filter_.years or filter_.years[1] < 1:
        return 0, _ALL_YEARS
    first = max(filter_.years[0], 1)
    return first, filter_.years[1] - first


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
