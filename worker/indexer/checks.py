"""The checks before activation: the collection is whole and agrees with exact search, and the release is no worse."""

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from schemas.manifest import EvaluationResult
from schemas.profile import AGE_GROUPS, OCCUPATIONS, ProfileEvent
from worker.errors import MixedReleasesError
from worker.release.release import Release
from worker.release.vectors import unit_length
from worker.retrieval.exact import ExactIndex, StoredIndex
from worker.retrieval.index import EF_MIN, Hits, IndexStore, IndexType, ItemIds, Vectors

Exact = ExactIndex | StoredIndex
# Figures by metric, split and data; None for a value that is no number.
_Figures = dict[tuple[str, str, str], EvaluationResult | None]

PROBE_LIMIT = 10  # movies that are compared for each probe
RECALL_AT = 5  # movies of which the recall is published
# Two scores this close may stand in either order, depending on how they are computed.
SCORE_TOLERANCE = 1e-5
HNSW_RECALL = 0.95  # HNSW is approximate: the share of the exact result that it must find
# Candidates that a search may keep to reach it. A million movies need more of them than a hundred thousand.
_EFS = {"FLAT": (EF_MIN,), "HNSW": (EF_MIN, 128, 256, 512, 1_024, 2_048)}


class CheckError(Exception):
    """A release must not take over; the message is the reason."""


@dataclass(frozen=True)
class Agreement:
    """How search results compare with exact search: the largest difference of scores, and the share of the best movies."""

    score_error: float
    recall: float
    recall_at_5: float = 0.0


@dataclass(frozen=True)
class Checked:
    """The result of a check, as a sentence and in figures."""

    summary: str
    index: IndexType
    recall_at_5: float
    ef: int


def probe_queries(release: Release, probes: int) -> Vectors:
    """Vectors of `probes` random profiles, the same ones each time, float32 [probes, dim].

    Raises:
        CheckError: the user tower gives values that are not finite.
    """
    rng = np.random.default_rng(0)
    movies = release.movie_ids
    events = [
        ProfileEvent(
            gender="F" if rng.random() < 0.5 else "M",
            age=int(rng.choice(AGE_GROUPS)),
            occupation=int(rng.integers(len(OCCUPATIONS))),
            recent=rng.choice(movies, min(len(movies), int(rng.integers(4)))).tolist(),
        )
        for _ in range(probes)
    ]
    queries = release.embed_profiles(events)
    if not np.isfinite(queries).all():
        raise CheckError("the user tower gives values that are not finite")
    return unit_length(queries, release.manifest)


def check_collection(
    store: IndexStore, collection: str, items: ItemIds, exact: Exact, queries: Vectors, kind: IndexType
) -> Checked:
    """Compare a collection with exact search for queries [probes, dim].

    Raises:
        CheckError: rows are missing, or results differ from exact search.
        MilvusError: Milvus is away; call again.
    """
    rows = store.count(collection)
    if rows != len(items):
        raise CheckError(f"the collection has {rows} rows, and the catalogue {len(items)} movies")
    if rows == 0:
        raise CheckError("the catalogue has no movies")
    limit = min(PROBE_LIMIT, rows)
    best = exact.search(queries, limit).scores
    enough, found = 1.0 if kind == "FLAT" else HNSW_RECALL, Agreement(0.0, 0.0)
    for ef in _EFS[kind]:
        try:
            hits = store.index(collection, items, ef).search(queries, limit)
        except MixedReleasesError as error:
            raise CheckError(str(error)) from None
        found = compare(hits, exact, queries, best, kind)
        # NaN compares false, and must not pass.
        if not found.score_error <= SCORE_TOLERANCE:
            raise CheckError(f"scores differ from exact search by {found.score_error:.1e}")
        if found.recall >= enough:
            agreed = f"{rows} rows, {len(queries)} probes agree with exact search"
            return Checked(
                f"{agreed} ({kind}, recall@5 {found.recall_at_5:.1%})", kind, found.recall_at_5, ef
            )
    raise CheckError(f"{kind} finds {found.recall:.1%} of what exact search finds for {len(queries)} probes")


def compare(hits: Hits, exact: Exact, queries: Vectors, best: Vectors, kind: IndexType = "FLAT") -> Agreement:
    """Compare search results [probes, m] with the best products [probes, limit] of exact search.

    A movie is in place if its own exact score is the score of that place: neighbours with equal scores may swap. Differences of
    scores above 1 are relative, because float32 is.
    """
    limit = best.shape[1]
    rows, scores = hits
    if rows.shape != best.shape or any(len(set(row)) < limit for row in rows.tolist()):
        return Agreement(score_error=0.0, recall=0.0)
    own = np.einsum("pd,pmd->pm", queries, exact.vectors[rows])
    scale = np.maximum(1.0, np.abs(own))
    # An exact index must match every place. An approximate one may miss a movie, which shifts the places after it.
    due = best if kind == "FLAT" else np.broadcast_to(best[:, -1:], best.shape)
    in_place = (own - due) / scale >= -SCORE_TOLERANCE
    # Recall counts scores and not ids, because movies with equal scores may replace each other.
    top = min(RECALL_AT, limit)
    among = (own[:, :top] - best[:, top - 1 : top]) / scale[:, :top] >= -SCORE_TOLERANCE
    return Agreement(float((np.abs(own - scores) / scale).max()), float(in_place.mean()), float(among.mean()))


def compare_evaluations(
    candidate: dict[str, Any] | None, active: dict[str, Any] | None, tolerance: float
) -> str:
    """Compare the figures that have the same metric, split and data; returns a sentence.

    Args:
        tolerance: the relative loss that is accepted.

    Raises:
        CheckError: a figure of the candidate is worse by more than `tolerance`, or a compared figure is no number (missing,
            NaN, infinite). All figures of the candidate must be numbers.
    """
    ours, theirs = _figures(candidate), _figures(active)
    alike = sorted(ours.keys() & theirs.keys())
    _require_numbers(ours, "")
    _require_numbers({measures: theirs[measures] for measures in alike}, " of the active release")
    for measures in alike:
        new, old = ours[measures], theirs[measures]
        assert new and old
        loss = (old.value - new.value) if new.higher_is_better else (new.value - old.value)
        if loss > tolerance * abs(old.value):
            metric, split, _ = measures
            raise CheckError(
                f"{metric} on {split} is {new.value:.4f}, and the active release's {old.value:.4f}: worse by more "
                f"than {tolerance:.1%}"
            )
    if not alike:
        return "no evaluation on the same metric, split and data to compare"
    return f"{len(alike)} evaluations not below the active release's"


def _figures(evaluation: dict[str, Any] | None) -> _Figures:
    results = evaluation.get("results") if evaluation else None
    return dict(
        named for result in (results if isinstance(results, list) else []) if (named := _figure(result))
    )


def _figure(result: object) -> tuple[tuple[str, str, str], EvaluationResult | None] | None:
    """Metric, split and data of a figure, and the figure, None if it is no number; None for a result of another version."""
    if not isinstance(result, dict):
        return None
    try:
        named = EvaluationResult.model_validate(result | {"value": 0.0})
    except ValidationError:
        return None
    value = _number(result.get("value"))
    return named.measures, None if value is None else named.model_copy(update={"value": value})


def _number(value: object) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _require_numbers(figures: _Figures, whose: str) -> None:
    for (metric, split, _), figure in sorted(figures.items(), key=lambda item: item[0]):
        if figure is None:
            raise CheckError(f"{metric} on {split}{whose} is no number: evaluate the release again")
