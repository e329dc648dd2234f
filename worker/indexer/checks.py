"""The check before activation: is the collection whole, does it answer as exact search does, is the release no worse."""

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
# By metric, split and data; None for a figure that is no number.
_Figures = dict[tuple[str, str, str], EvaluationResult | None]

PROBE_LIMIT = 10  # movies compared of each probe
RECALL_AT = 5  # of these, how many are reported to be found
# Scores this close may stand in either order between two ways of computing them.
SCORE_TOLERANCE = 1e-5
# HNSW is approximate by design: of what exact search finds it must find this much.
HNSW_RECALL = 0.95
# How many candidates a search may keep for that. A million movies need more of them than a hundred thousand.
_EFS = {"FLAT": (EF_MIN,), "HNSW": (EF_MIN, 128, 256, 512, 1_024, 2_048)}


class CheckError(Exception):
    """A release must not take over; says why."""


@dataclass(frozen=True)
class Agreement:
    """How answers compare with exact search: the largest difference of scores, and the share of the best found."""

    score_error: float
    recall: float
    recall_at_5: float = 0.0


@dataclass(frozen=True)
class Checked:
    """What the check of a collection found, in a sentence and in figures."""

    summary: str
    index: IndexType
    recall_at_5: float
    ef: int


def probe_queries(release: Release, probes: int) -> Vectors:
    """Vectors of `probes` people of every kind, the same ones each time, float32 [probes, dim].

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
    """Compare a collection with what went into it.

    Args:
        exact: searches the n vectors of the catalogue, whose inner product ranks; queries: float32 [probes, dim].
        kind: the collection's index.

    Raises:
        CheckError: rows are missing, or answers are not those of exact search.
        MilvusError: Milvus is away; to be repeated.
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
        # A score that is no number compares false, and must not pass for that.
        if not found.score_error <= SCORE_TOLERANCE:
            raise CheckError(f"scores differ from exact search by {found.score_error:.1e}")
        if found.recall >= enough:
            agreed = f"{rows} rows, {len(queries)} probes agree with exact search"
            return Checked(
                f"{agreed} ({kind}, recall@5 {found.recall_at_5:.1%})", kind, found.recall_at_5, ef
            )
    raise CheckError(f"{kind} finds {found.recall:.1%} of what exact search finds for {len(queries)} probes")


def compare(hits: Hits, exact: Exact, queries: Vectors, best: Vectors, kind: IndexType = "FLAT") -> Agreement:
    """Compare answers [probes, m] with the products [probes, limit] of the best that exact search finds.

    A movie counts as found at its place if its own exact score is that of the place: neighbours that are equal within
    SCORE_TOLERANCE may swap. Differences of scores above 1 are taken relatively, because float32 is.
    """
    limit = best.shape[1]
    rows, scores = hits
    if rows.shape != best.shape or any(len(set(row)) < limit for row in rows.tolist()):
        return Agreement(score_error=0.0, recall=0.0)
    own = np.einsum("pd,pmd->pm", queries, exact.vectors[rows])
    scale = np.maximum(1.0, np.abs(own))
    # An exact index has every place right; an approximate one may miss some, which shifts the places after them.
    due = best if kind == "FLAT" else np.broadcast_to(best[:, -1:], best.shape)
    in_place = (own - due) / scale >= -SCORE_TOLERANCE
    # Of the five best, those whose scores are among the five best: equal ones may stand for each other.
    top = min(RECALL_AT, limit)
    among = (own[:, :top] - best[:, top - 1 : top]) / scale[:, :top] >= -SCORE_TOLERANCE
    return Agreement(float((np.abs(own - scores) / scale).max()), float(in_place.mean()), float(among.mean()))


def compare_evaluations(
    candidate: dict[str, Any] | None, active: dict[str, Any] | None, tolerance: float
) -> str:
    """Compare what was evaluated alike; gives a sentence of what was found.

    A figure that is no number (missing, NaN, infinite) compares as nothing: the candidate's fails wherever it stands, the
    active release's where the candidate's is to be compared with it.

    Args:
        tolerance: by how much, relatively, a figure may be worse.

    Raises:
        CheckError: a figure of the candidate is worse than the active release's by more than `tolerance`, or is no number.
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
    """What a figure measures, and the figure, None where it is no number; None where another version wrote it."""
    if not isinstance(result, dict):
        return None
    try:
        named = EvaluationResult.model_validate(result | {"value": 0.0})
    except ValidationError:
        return None
    value = _number(result.get("value"))
    return named.measures, None if value is None else named.model_copy(update={"value": value})


def _number(value: object) -> float | None:
    """A number that can be compared."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def _require_numbers(figures: _Figures, whose: str) -> None:
    for (metric, split, _), figure in sorted(figures.items(), key=lambda item: item[0]):
        if figure is None:
            raise CheckError(f"{metric} on {split}{whose} is no number: evaluate the release again")
