"""From search to lists: the best `k` movies that a person has not seen, with the fewest and smallest searches."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.recommendation import SCORE_PLACES
from worker.exact import Ids, Vectors

Search = Callable[[Vectors, int], tuple[Ids, Vectors]]

# A search costs by its limit (one of 50 five times one of 5, one of 300 twenty times), and one call has one limit for
# all its queries. So wishes are sorted into these, and asked again with the next where they came up short.
LIMITS = (6, 10, 20, 50, 110, 310, 1_300, 5_200, 16_384)  # 16,384 is the most that Milvus gives


@dataclass(frozen=True, slots=True)
class Wish:
    """What one event wants: how many movies, and which never."""

    k: int
    never: frozenset[int]


@dataclass(frozen=True, slots=True)
class Pick:
    """A movie of a list."""

    movie_id: int
    score: float


def best_lists(
    search: Search, vectors: Vectors, wishes: Sequence[Wish], *, movies: int, scale: float
) -> list[list[Pick]]:
    """For each of the vectors [n, dimension] the best of its wish, by score, ties by movie id.

    The answer is the one that fetching all movies would give: a list is done when nothing that was not fetched could
    stand in it, and else asked for again with a larger limit.
    """
    lists: list[list[Pick]] = [[] for _ in wishes]
    pending = _by_limit((index, wish.k + 1) for index, wish in enumerate(wishes))
    while pending:
        limit, members = pending.popitem()
        ids, scores = _ordered(*search(vectors[members], limit), scale)
        exhausted = limit >= movies or limit == LIMITS[-1]
        again = []
        for index, row_ids, row_scores in zip(members, ids.tolist(), scores.tolist(), strict=True):
            picks, settled = _pick(row_ids, row_scores, wishes[index])
            if settled or exhausted:
                lists[index] = picks
            else:
                # Everything seen may stand before the first that is not, so this many are enough but for ties.
                again.append((index, max(limit + 1, wishes[index].k + len(wishes[index].never) + 1)))
        for next_limit, next_members in _by_limit(again).items():
            pending.setdefault(next_limit, []).extend(next_members)
    return lists


def _by_limit(needs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for index, need in needs:
        groups[next((limit for limit in LIMITS if limit >= need), LIMITS[-1])].append(index)
    return groups


def _ordered(ids: Ids, raw: Vectors, scale: float) -> tuple[Ids, NDArray[np.float64]]:
    """Scores as they are published, sorted highest first and by id among equals."""
    scores = np.round(raw.astype(np.float64) * scale, SCORE_PLACES)
    order = np.lexsort((ids, -scores), axis=-1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _pick(ids: list[int], scores: list[float], wish: Wish) -> tuple[list[Pick], bool]:
    """The wish's list from what was fetched, and whether nothing beyond could stand in it or tie with its last."""
    picks: list[Pick] = []
    for movie_id, score in zip(ids, scores, strict=True):
        if movie_id in wish.never or movie_id < 0:  # negative where the search had no more to give
            continue
        picks.append(Pick(movie_id, score))
        if len(picks) == wish.k:
            return picks, score > scores[-1]
    return picks, False
