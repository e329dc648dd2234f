"""The protocols: users, groups and figures of the lists."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ops.data.movielens import MovieLens
from ops.data.ratings import Ratings
from ops.evaluation import beyond, metrics
from ops.evaluation.baselines import rankings
from ops.evaluation.holdout import LIKED_STARS, Holdout
from ops.evaluation.metrics import lists_of_ranking, mean_figure, ndcg_of_lists
from ops.evaluation.recommend import Recommender
from ops.evaluation.split_files import LEAVE_ONE_OUT_FILE
from schemas.manifest import Figure, Protocol
from schemas.profile import AGE_GROUPS, GENDERS

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
Figures = dict[str, Figure]

POPULARITY = "popularity"
SHORT_HISTORIES = range(1, 11)
# Upper ends of the groups by the number of seen movies; ml-1m has no user below 18.
HISTORY_LENGTHS = (30, 60, 120, 200)

# Names of recall: with one wanted movie it is the hit rate.
SHARE_NAMES = {"leave-one-out": "hr@10"}


def prefix(split: str) -> str:
    """leave-one-out as it begins the names of its figures: leave_one_out."""
    return split.replace("-", "_")


class Measurement:
    """One split, measured on a release and on the baselines."""

    def __init__(self, data: MovieLens, holdout: Holdout, recommender: Recommender) -> None:
        self._data, self._holdout, self._recommender = data, holdout, recommender
        self._cases = holdout.test
        self._learnt = data.ratings.take(holdout.train)
        self._share = SHARE_NAMES.get(holdout.name, "recall@10")
        self._genres = beyond.genre_marks(data.movies.genres)

    def protocol(self, trained: str, seed: int) -> Protocol:
        """Everything of this split."""
        ours = self._recommender.lists(self._cases, self._holdout.cold)
        own = self._values(ours)
        figures = self._figures(own) | self._beyond(ours) | self._diversified()
        baselines: dict[str, Figures] = {}
        differences: dict[str, Figures] = {}
        for name, lists in self._baseline_lists():
            theirs = self._values(lists)
            baselines[name] = self._figures(theirs) | self._beyond(lists)
            differences[name] = self._figures({key: own[key] - theirs[key] for key in own})
            if name == POPULARITY and self._holdout.name == "leave-one-out":
                short, above = self._short_histories(theirs["ndcg@10"])
                figures |= short
                differences[name] |= above
        return Protocol(
            split=self._holdout.name,
            origin=self._holdout.origin,
            data=self._data.fingerprint,
            trained=trained,
            seed=seed,
            figures=figures,
            baselines=baselines,
            differences=differences,
            published=published(self._data, self._holdout),
        )

    def _values(self, lists: Rows) -> dict[str, Floats]:
        """Each metric of each case, [n]."""
        wanted = np.array([len(case.wanted) for case in self._cases])
        found = metrics.hits(lists, [case.wanted for case in self._cases])
        return {"ndcg@10": metrics.ndcg(found, wanted), self._share: metrics.recall(found, wanted)}

    def _figures(self, values: dict[str, Floats]) -> Figures:
        """Means over everybody, and over each group."""
        begin = prefix(self._holdout.name)
        figures = {f"{begin}.{metric}": mean_figure(each) for metric, each in values.items()}
        for group, members in self._groups():
            for metric, each in values.items():
                figures[f"{begin}.{group}.{metric}"] = mean_figure(each[members])
        return figures

    def _groups(self) -> Iterator[tuple[str, Rows]]:
        """Names of the groups that are not empty, and the places of their cases."""
        for name, members in self._all_groups():
            places = np.flatnonzero(members)
            if len(places):
                yield name, places

    def _all_groups(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        users = np.array([case.user for case in self._cases])
        if self._holdout.name == "global-time":
            warm = np.isin(users, self._learnt.users)
            yield "warm", warm
            yield "cold", ~warm
        genders = np.array(self._data.users.genders)[users]
        for gender in GENDERS:
            yield f"gender_{gender}", genders == gender
        for age in AGE_GROUPS:
            yield f"age_{age}", self._data.users.ages[users] == age
        seen = np.array([len(case.seen) for case in self._cases])
        low = 0
        for high in (*HISTORY_LENGTHS, None):
            ours = (seen > low) & (seen <= high) if high else seen > low
            yield f"seen_{low + 1}_to_{high}" if high else f"seen_over_{low}", ours
            low = high or 0

    def _beyond(self, lists: Rows) -> Figures:
        movies, users = len(self._data.movies), len(self._data.users)
        values = {
            "coverage": beyond.coverage(lists, movies),
            "novelty": beyond.novelty(lists, self._learnt, users, movies),
            "gini": beyond.gini(lists, movies),
        } | {name: float(each.mean()) for name, each in self._distances(lists).items()}
        return {
            f"{prefix(self._holdout.name)}.{name}": Figure(value=value, users=len(lists))
            for name, value in values.items()
        }

    def _distances(self, lists: Rows) -> dict[str, Floats]:
        """Mean distance between the movies of each list, [n], by the release's vectors and by genres."""
        return {
            "intra_list_distance": beyond.intra_list_distance(lists, self._recommender.movies),
            "genre_distance": beyond.genre_distance(lists, self._genres),
        }

    def _diversified(self) -> Figures:
        """Figures of the lists with a diversity, of several strengths."""
        pools, scores = self._recommender.pools(self._cases, self._holdout.cold)
        figures = {}
        for strength in beyond.STRENGTHS:
            lists = beyond.diverse_lists(pools, scores, self._recommender.movies, strength)
            begin = f"{prefix(self._holdout.name)}.{beyond.group(strength)}"
            for name, each in (self._values(lists) | self._distances(lists)).items():
                figures[f"{begin}.{name}"] = mean_figure(each)
        return figures

    def _baseline_lists(self) -> Iterator[tuple[str, Rows]]:
        if self._holdout.cold is not None:
            yield "random", self._at_random(self._holdout.cold)
            return
        learnt = baseline_ratings(self._data.ratings.take(self._holdout.not_test), self._holdout.name)
        for name, ranking in rankings(self._data, learnt).items():
            yield name, lists_of_ranking(ranking, self._cases)

    def _at_random(self, cold: NDArray[np.bool_]) -> Rows:
        """Random lists: the only baseline for movies without ratings."""
        random = np.random.default_rng(0)
        scores = random.random((len(self._cases), len(cold))).astype(np.float32)
        scores[:, ~cold] = -np.inf
        return metrics.best(scores)

    def _short_histories(self, popular: Floats) -> tuple[Figures, Figures]:
        """NDCG@10 where an event carries but the last few movies and no id, and how far that is above popularity."""
        figures, above = {}, {}
        for length in SHORT_HISTORIES:
            cases = [case.last(length) for case in self._cases]
            values = ndcg_of_lists(self._recommender.lists(cases), cases)
            name = f"{prefix(self._holdout.name)}.last_{length}.ndcg@10"
            figures[name] = mean_figure(values)
            above[name] = mean_figure(values - popular)
        return figures, above


def baseline_ratings(learnt: Ratings, split: str) -> Ratings:
    """The ratings that baselines count: only liked movies, where liked movies are wanted."""
    return learnt.take(learnt.stars >= LIKED_STARS) if split == "users" else learnt


_USERS, _RATINGS = 6_040, 1_000_209

# HR@10 and NDCG@10. The last two: Klenitskiy and Vasilev, "Turning dross into gold loss" (2023); the others: Petrov and
# Macdonald, "gSASRec" (2023).
_LEAVE_ONE_OUT = {
    "SASRec, one negative": (0.2500, 0.1341),
    "BERT4Rec": (0.2843, 0.1537),
    "gSASRec": (0.3003, 0.1726),
    "SASRec, full softmax": (0.3152, 0.1821),
    "SASRec, 3,000 negatives": (0.3159, 0.1857),
}


def published(data: MovieLens, holdout: Holdout) -> dict[str, dict[str, Figure]]:
    """Published figures by model and name; none for other data or a derived split."""
    if (len(data.users), len(data.ratings), holdout.origin) != (_USERS, _RATINGS, LEAVE_ONE_OUT_FILE):
        return {}
    return {
        model: {
            "leave_one_out.hr@10": Figure(value=hit_rate, users=_USERS),
            "leave_one_out.ndcg@10": Figure(value=ndcg, users=_USERS),
        }
        for model, (hit_rate, ndcg) in _LEAVE_ONE_OUT.items()
    }
