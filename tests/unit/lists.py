"""Lists as a search would have found them."""

from collections.abc import Sequence

import numpy as np

from schemas.recommendation import Retrieval
from worker.retrieval.lists import Lists, Pick
from worker.retrieval.retriever import FoundLists


def lists_of(picks: Sequence[Sequence[Pick]]) -> Lists:
    flat = [pick for of_one in picks for pick in of_one]
    return Lists(
        np.array([pick.movie_id for pick in flat], np.int64),
        np.array([pick.score for pick in flat], np.float64),
        np.array([len(of_one) for of_one in picks], np.int64),
    )


def found(picks: Sequence[Sequence[Pick]], *, milvus_away: bool = False) -> FoundLists:
    retrieval: Retrieval = "exact" if milvus_away else "milvus"
    return FoundLists(lists_of(picks), [retrieval for _ in picks], milvus_away)
