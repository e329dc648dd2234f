"""Compares lists from Paddle alone with lists from Milvus (the seed's infer_paddle.py and infer_milvus.py)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ops.data.seed_codes import SEED_GENDERS, age_in_years, combinations
from schemas.manifest import Manifest
from schemas.profile import DEFAULT_K, ProfileEvent
from worker.release.paddle_engine import paddle
from worker.release.release import Release
from worker.retrieval.index import IndexStore, ItemIds
from worker.retrieval.queries import queries_of
from worker.retrieval.ranking import rank_all

# Largest differences between two devices or batch sizes, in the unit of the score.
NEIGHBOURS_WITHIN = 1e-5
SCORES_WITHIN = 1e-4

Scores = npt.NDArray[np.float32]
_MOVIES_AT_A_TIME = 4_096


class Listed(NamedTuple):
    """A movie of a list."""

    movie_id: int
    score: float


@dataclass(frozen=True)
class Difference:
    """A list of Milvus that differs from Paddle's: the seed's codes, a sentence, and both lists as (movie id, score)."""

    age: int
    gender: int
    job: int
    what: str
    paddle: list[tuple[int, float]]
    milvus: list[tuple[int, float]]


def profiles() -> list[ProfileEvent]:
    """Make an event for each combination of age group, gender and job, in the order of `combinations()`."""
    return [
        ProfileEvent(age=age_in_years(age), gender=SEED_GENDERS[gender], occupation=job)
        for age, gender, job in combinations()
    ]


def verify(release: Release, milvus: IndexStore, collection: str) -> Iterator[Difference | None]:
    """Compare one combination after another; None if both lists agree.

    Raises:
        MilvusError: the collection cannot be searched.
    """
    vectors, ids = release.embed_profiles(events := profiles()), release.catalogue.movie_ids
    scores = paddle_scores(release, vectors)
    items = ItemIds(ids)
    lists = rank_all(
        milvus.index(collection, items),
        queries_of(events, vectors, items),
        rows=len(ids),
        scale=release.manifest.score_scale,
    )
    for codes, exact, ranked in zip(combinations(), scores, lists.by_query(), strict=True):
        picks = [Listed(int(ids[item.row]), item.score) for item in ranked]
        what = difference(ids, exact, picks)
        if what is None:
            yield None
            continue
        best = np.lexsort((ids, -exact))[:DEFAULT_K]
        listed = [(int(ids[row]), float(exact[row])) for row in best]
        yield Difference(*codes, what, listed, [(pick.movie_id, pick.score) for pick in picks])


def paddle_scores(release: Release, vectors: Scores) -> Scores:
    """Compute the score of every movie for every profile vector, float32 [profiles, movies], by Paddle alone."""
    count = release.manifest.movies
    movies = np.concatenate(
        [
            release.embed_movies(start, min(start + _MOVIES_AT_A_TIME, count))
            for start in range(0, count, _MOVIES_AT_A_TIME)
        ]
    )
    users, items = _scorable(vectors, release.manifest), _scorable(movies, release.manifest)
    product = paddle.matmul(users, items, transpose_y=True) * release.manifest.score_scale
    scores: Scores = product.numpy()
    return scores


def _scorable(vectors: Scores, manifest: Manifest) -> paddle.Tensor:
    """Scale vectors so that their product is the metric: to length 1 for the cosine."""
    tensor = paddle.to_tensor(vectors, place=paddle.CPUPlace())
    return paddle.nn.functional.normalize(tensor, axis=1) if manifest.metric == "COSINE" else tensor


def difference(movie_ids: npt.NDArray[np.int64], exact: Scores, picks: Sequence[Listed]) -> str | None:
    """Describe the fault of a list, or return None. `exact` [movies] are the scores of `movie_ids`."""
    wanted = np.sort(exact)[::-1][:DEFAULT_K]
    if len(picks) != len(wanted) or len({pick.movie_id for pick in picks}) != len(picks):
        return f"{len(picks)} movies instead of {len(wanted)} different ones"
    score_of = dict(zip(movie_ids.tolist(), exact.tolist(), strict=True))
    for rank, (pick, best) in enumerate(zip(picks, wanted.tolist(), strict=True), start=1):
        own = score_of.get(pick.movie_id)
        if own is None:
            return f"rank {rank} is movie {pick.movie_id}, which the catalogue lacks"
        # After a swap within the tolerance, a movie stands at a rank of nearly its own score.
        if abs(own - best) > NEIGHBOURS_WITHIN:
            return f"rank {rank} is movie {pick.movie_id} of score {own:.6f}, where the best has {best:.6f}"
        if abs(pick.score - own) > SCORES_WITHIN:
            return f"rank {rank}, movie {pick.movie_id}, scores {pick.score:.6f} instead of {own:.6f}"
    return None
