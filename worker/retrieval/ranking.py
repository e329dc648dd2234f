"""From search to lists: the best `k` movies that qualify for a person, with the fewest and smallest searches."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from schemas.profile import Filter
from worker.retrieval.lists import NOTHING, Ids, Lists, Scores, Vectors, Wish, merged, published

Search = Callable[[Vectors, int, Filter | None], tuple[Ids, Vectors]]
SearchExactly = Callable[[Vectors, Sequence[Wish]], Lists]

# A search costs by its limit (one of 50 five times one of 5, one of 300 twenty times), and one call has one limit and one
# filter for all its queries. So wishes are sorted into these, and asked again where they came up short.
LIMITS = (6, 10, 20, 64, 110, 310, 1_300, 5_200, 16_384)  # 16,384 is the most that Milvus gives


@dataclass(frozen=True, slots=True)
class Ranked:
    """Lists, and how they were come by."""

    lists: Lists
    short: list[int]  # places of the wishes that were searched for again
    exact: list[int]  # places of the wishes whose lists are from exact search


def best_lists(
    search: Search,
    vectors: Vectors,
    wishes: Sequence[Wish],
    *,
    movies: int,
    scale: float,
    exactly: SearchExactly | None = None,
    withheld: frozenset[int] = NOTHING,
) -> Ranked:
    """For each of the vectors [n, dimension] the best of its wish, by published score, ties by movie id.

    The answer is the one that fetching all movies would give: a list is done when nothing that was not fetched could
    stand in it. What comes up short is searched for again, with a larger limit, or exactly where that can be done; and
    so is from the start what has a filter, because a call serves only one.

    Args:
        exactly: exact search, where there is one.
        withheld: movies that nobody gets.
    """
    parts: list[tuple[Sequence[int], Lists]] = []
    short: list[int] = []
    exact = [place for place, wish in enumerate(wishes) if wish.filter is not None] if exactly else []
    together = set(range(len(wishes))).difference(exact)
    pending = _groups(wishes, ((place, wishes[place].k + 1) for place in sorted(together)))
    while pending:
        (limit, filter_), places = pending.popitem()
        found = search(vectors[places], limit, filter_)
        lists, settled = _settle(*found, [wishes[place] for place in places], scale, withheld)
        if limit >= movies or limit == LIMITS[-1]:
            settled[:] = True
        parts.append((list(compress(places, settled)), _only(lists, settled)))
        again = list(compress(places, ~settled))
        short += again
        if exactly:
            exact += again
            continue
        # All that is left out may stand before the first that is not, so this many are enough but for ties.
        needs = ((i, max(limit + 1, wishes[i].k + len(wishes[i].never) + len(withheld) + 1)) for i in again)
        for group, of_group in _groups(wishes, needs).items():
            pending.setdefault(group, []).extend(of_group)
    if exactly and exact:
        parts.append((exact, exactly(vectors[exact], [wishes[place] for place in exact])))
    return Ranked(merged(len(wishes), parts), short, exact)


def _groups(
    wishes: Sequence[Wish], needs: Iterable[tuple[int, int]]
) -> dict[tuple[int, Filter | None], list[int]]:
    """What can be asked for in one call: by limit and filter, the places of the wishes."""
    groups: dict[tuple[int, Filter | None], list[int]] = defaultdict(list)
    for index, need in needs:
        limit = LIMITS[min(bisect_left(LIMITS, need), len(LIMITS) - 1)]
        groups[limit, wishes[index].filter].append(index)
    return groups


def _settle(
    ids: Ids, raw: Vectors, wishes: Sequence[Wish], scale: float, withheld: frozenset[int]
) -> tuple[Lists, NDArray[np.bool_]]:
    """The wishes' lists from what was fetched for them, [n, m], and of which nothing beyond could stand in them or tie."""
    if not ids.shape[1]:  # nothing was found for anybody
        nothing = np.zeros(len(ids), np.int64)
        return Lists(ids.ravel(), published(raw.ravel(), scale), nothing), nothing.astype(np.bool_)
    ids, scores = _ordered(ids, published(raw, scale))
    ks = np.array([wish.k for wish in wishes])[:, None]
    qualifies = ids >= 0  # negative where the search had no more to give
    for row, (wish, found) in enumerate(zip(wishes, ids.tolist(), strict=True)):
        # Few lists meet what they must not have, and only those are worth an array.
        if not (wish.never.isdisjoint(found) and withheld.isdisjoint(found)):
            qualifies[row] &= [movie_id not in wish.never and movie_id not in withheld for movie_id in found]
    listed = qualifies & (np.cumsum(qualifies, axis=1) <= ks)
    lengths = listed.sum(axis=1)
    last = np.where(listed, scores, np.inf).min(axis=1)
    settled: NDArray[np.bool_] = (lengths == ks[:, 0]) & (last > scores[:, -1])
    return Lists(ids[listed], scores[listed], lengths), settled


def _ordered(ids: Ids, scores: Scores) -> tuple[Ids, Scores]:
    """Highest score first, and by id among equals; they come so but for the equals, of which most batches have none."""
    if (scores[:, 1:] < scores[:, :-1]).all():
        return ids, scores
    order = np.lexsort((ids, -scores), axis=-1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _only(lists: Lists, chosen: NDArray[np.bool_]) -> Lists:
    """The chosen lists."""
    if chosen.all():
        return lists
    kept = np.repeat(chosen, lists.lengths)
    return Lists(lists.movie_ids[kept], lists.scores[kept], lists.lengths[chosen])
