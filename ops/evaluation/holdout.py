"""Splits of the ratings: the training part, and the cases on which a model is measured."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError
from ops.data.movielens import MovieLens
from ops.evaluation.split_files import GLOBAL_TIME_FILE, LEAVE_ONE_OUT_FILE, file_order, parts_of_ratings
from schemas.manifest import Data
from schemas.profile import MAX_RECENT

LIKED_STARS = 4  # from this rating on a movie counts as liked
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.1  # of all ratings, by time
FOLDS = 5
# Users on whom epochs are compared: enough to distinguish epochs, few enough to cost little.
VALIDATION_USERS = 2_000
COLD_SHARE = 0.1  # of the movies that anybody rated
_SEED = 0  # of every choice here: all models are measured on the same people

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """One user at one moment; all movies are rows of the catalogue."""

    user: int  # row
    recent: Rows  # history of the event, oldest first, at most MAX_RECENT
    seen: Rows  # never recommended
    wanted: Rows
    named: bool = True  # whether the event has the user's id

    def last(self, length: int) -> "Case":
        """The same user at the same moment, with an event of the last few movies alone."""
        return replace(self, recent=self.recent[-length:], named=False)


@dataclass(frozen=True)
class Holdout:
    """A split of the ratings."""

    name: str
    origin: str  # file beside the data, or the rule that derived it
    train: Rows  # rows of the ratings, by user and then by time
    not_test: Rows  # these and the validation part, for baselines, which need no validation
    validation: list[Case]
    test: list[Case]
    cold: NDArray[np.bool_] | None = None  # [movies]: those that were held out, where it is movies


@dataclass(frozen=True)
class Source:
    """The data, the folder with its split files, and the name of the split."""

    data: MovieLens
    folder: Path
    split: str = "all"
    fold: int = 0

    def described(self) -> Data:
        """For the manifest."""
        return Data(
            fingerprint=self.data.fingerprint,
            split=self.split,
            users=len(self.data.users),
            movies=len(self.data.movies),
            ratings=len(self.data.ratings),
        )


def hold_out(data: MovieLens, folder: Path, split: str, fold: int = 0) -> Holdout:
    """The split called `split`; with files of `folder` where it has them.

    Raises:
        DataError: a split file does not fit the data, or the data is too small to hold anything out.
    """
    holdout = SPLITS[split](data, folder, fold)
    if not (len(holdout.train) and holdout.validation):
        raise DataError(f"the split {split} leaves nothing to train or to validate on: use more data")
    return holdout


def by_time(data: MovieLens) -> Rows:
    """Rows of the ratings, by user, time and line."""
    ratings = data.ratings
    return np.lexsort((np.arange(len(ratings)), ratings.timestamps, ratings.users))


def by_user(data: MovieLens, rows: Rows) -> list[Rows]:
    """Rows of the ratings, sorted by user, as one part for each user."""
    return np.split(rows, np.searchsorted(data.ratings.users[rows], np.arange(1, len(data.users))))


def _everything(data: MovieLens, _folder: Path, _fold: int) -> Holdout:
    """All ratings but the last movie of some users, on whom validation decides when to stop."""
    parts = by_user(data, by_time(data))
    able = [user for user, rows in enumerate(parts) if len(rows) > 1]
    chosen = set(_sample(able, min(VALIDATION_USERS, -(-len(able) // 10))).tolist())
    train = [rows[:-1] if user in chosen else rows for user, rows in enumerate(parts)]
    return Holdout(
        "all", "", np.concatenate(train), by_time(data), _next_movie(data, parts, sorted(chosen), 1), []
    )


def _leave_one_out(data: MovieLens, folder: Path, _fold: int) -> Holdout:
    """Each user's last movie for the test, and the one before it for validation."""
    parts, origin = file_order(data, folder), LEAVE_ONE_OUT_FILE
    if parts is None:
        parts, origin = by_user(data, by_time(data)), "derived from the timestamps"
    able = [user for user, rows in enumerate(parts) if len(rows) > 2]
    return Holdout(
        "leave-one-out",
        origin,
        np.concatenate([rows[:-2] for rows in parts]),
        np.concatenate([rows[:-1] for rows in parts]),
        _next_movie(data, [rows[:-1] for rows in parts], _sample(able, VALIDATION_USERS).tolist(), 1),
        _next_movie(data, parts, able, 1),
    )


def _global_time(data: MovieLens, folder: Path, _fold: int) -> Holdout:
    """The first 80 % of all ratings by time, the next 10 % for validation, the last for the test."""
    part, origin = parts_of_ratings(folder, len(data.ratings)), GLOBAL_TIME_FILE
    if part is None:
        part, origin = _parts_by_time(data.ratings.timestamps), "derived from the timestamps"
    rows = by_time(data)
    train, validation, test = (by_user(data, rows[part[rows] == number]) for number in range(3))
    before_test = [np.concatenate(both) for both in zip(train, validation, strict=True)]
    return Holdout(
        "global-time",
        origin,
        np.concatenate(train),
        np.concatenate(before_test),
        _later_movies(data, train, validation)[:VALIDATION_USERS],
        _later_movies(data, before_test, test),
    )


def _users(data: MovieLens, _folder: Path, fold: int) -> Holdout:
    """A fifth of the users, known only by their profile; the movies that they liked are wanted."""
    folds = np.random.default_rng(_SEED).permutation(len(data.users)) % FOLDS
    others = np.flatnonzero(folds != fold)
    validating = set(_sample(others.tolist(), len(others) // 10).tolist())
    rows = by_time(data)
    parts = by_user(data, rows)
    train = [
        part if folds[user] != fold and user not in validating else part[:0]
        for user, part in enumerate(parts)
    ]
    test = np.flatnonzero(folds == fold).tolist()
    return Holdout(
        "users",
        f"fold {fold} of {FOLDS}",
        np.concatenate(train),
        np.concatenate([part for user, part in enumerate(parts) if folds[user] != fold]),
        _profile_only(data, parts, sorted(validating)),
        _profile_only(data, parts, test),
    )


def _cold_movies(data: MovieLens, _folder: Path, _fold: int) -> Holdout:
    """A tenth of the movies, without their ratings; users who liked some should find these among all of them."""
    rated = np.bincount(data.ratings.movies, minlength=len(data.movies)) > 0
    chosen = _sample(np.flatnonzero(rated).tolist(), max(1, round(COLD_SHARE * int(rated.sum()))))
    cold = np.zeros(len(data.movies), bool)
    cold[chosen] = True
    rows = by_time(data)
    warm_parts = by_user(data, rows[~cold[data.ratings.movies[rows]]])
    cold_parts = by_user(data, rows[cold[data.ratings.movies[rows]]])
    able = [user for user, part in enumerate(warm_parts) if len(part) > 1]
    validating = set(_sample(able, min(VALIDATION_USERS, -(-len(able) // 10))).tolist())
    train = [part[:-1] if user in validating else part for user, part in enumerate(warm_parts)]
    test = [
        Case(user, _recent(data, warm), _movies(data, warm), wanted)
        for user, (warm, liked) in enumerate(zip(warm_parts, cold_parts, strict=True))
        if len(wanted := _liked(data, liked))
    ]
    return Holdout(
        "cold-movies",
        f"{int(cold.sum())} movies, drawn with seed {_SEED}",
        np.concatenate(train),
        np.concatenate(warm_parts),
        _next_movie(data, warm_parts, sorted(validating), 1),
        test,
        cold,
    )


SPLITS: dict[str, Callable[[MovieLens, Path, int], Holdout]] = {
    "all": _everything,
    "leave-one-out": _leave_one_out,
    "global-time": _global_time,
    "users": _users,
    "cold-movies": _cold_movies,
}


def _next_movie(data: MovieLens, parts: list[Rows], users: list[int], held: int) -> list[Case]:
    """For each of the users, the last `held` of their part are wanted, with all before them known."""
    return [
        Case(
            user,
            _recent(data, parts[user][:-held]),
            _movies(data, parts[user][:-held]),
            _movies(data, parts[user][-held:]),
        )
        for user in users
    ]


def _later_movies(data: MovieLens, before: list[Rows], after: list[Rows]) -> list[Case]:
    return [
        Case(user, _recent(data, past), _movies(data, past), _movies(data, future))
        for user, (past, future) in enumerate(zip(before, after, strict=True))
        if len(future)
    ]


def _profile_only(data: MovieLens, parts: list[Rows], users: list[int]) -> list[Case]:
    nothing = np.empty(0, np.int64)
    return [
        Case(user, nothing, nothing, wanted, named=False)
        for user in users
        if len(wanted := _liked(data, parts[user]))
    ]


def _movies(data: MovieLens, rows: Rows) -> Rows:
    return data.ratings.movies[rows]


def _recent(data: MovieLens, rows: Rows) -> Rows:
    return _movies(data, rows[-MAX_RECENT:])


def _liked(data: MovieLens, rows: Rows) -> Rows:
    return _movies(data, rows[data.ratings.stars[rows] >= LIKED_STARS])


def _sample(among: list[int], count: int) -> Rows:
    """`count` of them, or all where there are fewer, sorted and the same each time."""
    drawn = np.random.default_rng(_SEED).permutation(np.array(among, np.int64))[:count]
    return np.sort(drawn)


def _parts_by_time(timestamps: Rows) -> NDArray[np.uint8]:
    """0, 1 and 2 for train, validation and test, the oldest first."""
    place = np.empty(len(timestamps), np.int64)
    place[np.argsort(timestamps, kind="stable")] = np.arange(len(timestamps))
    share = place / len(timestamps)
    return (share >= 1 - TEST_SHARE - VALIDATION_SHARE).astype(np.uint8) + (share >= 1 - TEST_SHARE)
