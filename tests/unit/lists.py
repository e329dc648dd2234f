"""Queries as tests write them, and ranked lists as a search would have found them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.profile import Filter
from schemas.recommendation import Retrieval
from worker.retrieval.index import Vectors
from worker.retrieval.queries import Queries, RankedItem, RankedLists
from worker.retrieval.retriever import FoundLists


@dataclass(frozen=True)
class Query:
    """One query, without its vector."""

    k: int
    exclusions: Collection[int] = ()  # rows
    filter: Filter | None = None


def queries_from(queries: Sequence[Query], vectors: Vectors) -> Queries:
    lengths = [len(query.exclusions) for query in queries]
    filters = [query.filter for query in queries]
    return Queries(
        vectors,
        np.array([query.k for query in queries], np.int64),
        np.repeat(np.arange(len(queries)), lengths),
        np.array([row for query in queries for row in query.exclusions], np.int64),
        filters if any(filters) else None,
    )


def lists_of(lists: Sequence[Sequence[RankedItem]]) -> RankedLists:
    flat = [item for of_one in lists for item in of_one]
    return RankedLists(
        np.array([item.row for item in flat], np.int64),
        np.array([item.score for item in flat], np.float64),
        np.array([len(of_one) for of_one in lists], np.int64),
    )


def found(lists: Sequence[Sequence[RankedItem]], *, milvus_away: bool = False) -> FoundLists:
    retrieval: Retrieval = "exact" if milvus_away else "milvus"
    return FoundLists(lists_of(lists), [retrieval for _ in lists], milvus_away)
