"""Files beside the data that fix a split: leave_one_out.txt and global_time_split.npy."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ops.data.lines import DataError, each_line, integer, read
from ops.data.movielens import MovieLens
from schemas.profile import MAX_ID

# `user item item …` a line in the user's true order, as the sequential recommenders are published on.
LEAVE_ONE_OUT_FILE = "leave_one_out.txt"
# 0, 1 or 2 for each rating by user and time: train, validation, test.
GLOBAL_TIME_FILE = "global_time_split.npy"

Rows = NDArray[np.int64]


def file_order(data: MovieLens, folder: Path) -> list[Rows] | None:
    """Rows of the ratings in the file's order, one part for each user; None where the folder has no such file.

    Raises:
        DataError: a line is malformed, or names a movie without a rating.
    """
    path = folder / LEAVE_ONE_OUT_FILE
    if not path.is_file():
        return None
    order: dict[int, list[int]] = {}

    def parse(line: str) -> None:
        user, *movies = (integer("an id", text, 1, MAX_ID) for text in line.split())
        order[user] = movies

    each_line(path, read(path), parse)
    return _rating_rows(data, path, order)


def _rating_rows(data: MovieLens, path: Path, order: dict[int, list[int]]) -> list[Rows]:
    ratings = data.ratings
    place = {
        pair: row
        for row, pair in enumerate(zip(ratings.users.tolist(), ratings.movies.tolist(), strict=True))
    }
    parts: list[Rows] = []
    for user, user_id in enumerate(data.users.ids.tolist()):
        try:
            rows = [place[user, data.movies.position(movie)] for movie in order.get(user_id, [])]
        except KeyError:
            raise DataError(
                f"{path} names a movie that user {user_id} has not rated: it belongs to other data"
            ) from None
        parts.append(np.array(rows, np.int64))
    return parts


def parts_of_ratings(folder: Path, ratings: int) -> NDArray[np.uint8] | None:
    """The part of each rating; None where the folder has no such file.

    Raises:
        DataError: the file cannot be read, or is of other data.
    """
    path = folder / GLOBAL_TIME_FILE
    if not path.is_file():
        return None
    try:
        parts: NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): remove it, or copy it again") from None
    if parts.shape != (ratings,) or parts.max() > 2:
        raise DataError(
            f"{path} must hold 0, 1 or 2 for each of {ratings} ratings: remove it, or copy it again"
        )
    return parts
