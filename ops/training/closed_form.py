"""The heads `liked` and `kin` of the sequence model, in closed form.

`liked` is a reduced-rank ridge regression of liked movies on the profile (Izenman, "Reduced-rank regression for the multivariate
linear model", 1975): the mean probability that a user likes a movie, and the addition of each profile field. On validation of
`users` it is better than popularity within gender and age, for certain, which training by gradients was not (docs/quality.md).

`kin` is the inner product of two movies' genres, each as 0 or 1 less its mean, so that a missing common genre counts against a movie,
and over the root of its deviation, so that a rare genre counts more (Pareto scaling: van den Berg et al., "Centering, scaling, and
transformations", 2006). Principal components reduce it to the size of the head's vectors.
"""

import numpy as np
from numpy.typing import NDArray

from ops.training.sequence import SequenceModel
from schemas.profile import PROFILE_FIELDS

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

PROFILE = tuple(PROFILE_FIELDS)
# Ridge of the users, in users; chosen on validation of `users` among 50 to 500.
PEOPLE_RIDGE = 100.0
# Ridge of the movies, for genres and years of unrated movies; not tuned.
MOVIES_RIDGE = 10.0


def fit_liked(
    network: SequenceModel, movies: dict[str, Rows], users: dict[str, Rows], liked: dict[int, Rows]
) -> None:
    """Set the weights of the head `liked` in both towers.

    Args:
        network: network of the heads.
        movies: rows of the movie tower's inputs, by name, of the trained movies.
        users: rows of the user tower's inputs, by name.
        liked: liked movies by user, as places among `movies`.
    """
    tower = network.user.liked
    tables = [getattr(tower, name) for name in PROFILE]
    begins = np.cumsum([0, *(table.weight.shape[0] for table in tables)])
    people = np.array(list(liked), np.int64)
    columns = np.stack(
        [users[name][people] + begin for name, begin in zip(PROFILE, begins, strict=False)], axis=1
    )
    known = np.zeros((len(people), begins[-1]))
    np.put_along_axis(known, columns, 1.0, axis=1)
    known[:, begins[:-1]] = 0.0  # row 0 of each is the unknown
    mean, effects, directions = _regression(
        known, columns, list(liked.values()), len(movies["movie_id"]), network.sizes[2] - 1
    )

    # In units of how far movies' means lie apart, so that the score is about as large as the other heads' logits.
    unit = 1.0 / (mean.std() or 1.0)
    everybody = np.zeros(network.sizes[2])
    everybody[0] = unit
    tower.everybody.set_value(everybody.astype(np.float32))
    for table, begin, end in zip(tables, begins, begins[1:], strict=False):
        rows, many = effects[begin:end] * unit, known[:, begin:end].sum(axis=0)
        rows[0] = many @ rows / max(1.0, many.sum())  # the unknown is the average
        table.weight.set_value(_beside(np.zeros(len(rows)), rows, network.sizes[2]))
    _set_movies(network, movies, _beside(mean, directions, network.sizes[2]).astype(np.float64))


def _regression(
    known: Floats, columns: Rows, liked: list[Rows], movies: int, rank: int
) -> tuple[Floats, Floats, Floats]:
    """The mean of each movie [m], and what each column adds to it as the product of [columns, r] and [m, r] transposed."""
    many = [len(rows) for rows in liked]
    wanted = np.concatenate(liked)
    mean = np.bincount(wanted, minlength=movies) / len(liked)
    counts = np.zeros(known.shape[1] * movies)
    for column in columns.T:
        counts += np.bincount(np.repeat(column, many) * movies + wanted, minlength=len(counts))
    above = counts.reshape(-1, movies) - np.outer(known.sum(axis=0), mean)
    above[known.sum(axis=0) == 0] = 0.0
    together = known.T @ known
    added = np.linalg.solve(together + PEOPLE_RIDGE * np.eye(len(together)), above)
    # The best of that rank over these people.
    values, vectors = np.linalg.eigh(together)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    directions = np.linalg.svd(root @ added, full_matrices=False)[2][:rank]
    return mean, added @ directions.T, directions.T


def _set_movies(network: SequenceModel, movies: dict[str, Rows], vectors: Floats) -> None:
    """Fit genres and years to the vectors [m, d]; the ids get the residual."""
    part = network.movie.liked
    begin = part.genres.weight.shape[0]
    said = np.zeros((len(vectors), begin + part.years.weight.shape[0]))
    np.put_along_axis(said, movies["genres"], 1.0, axis=1)
    said[:, 0] = 0.0  # no genre
    said[np.arange(len(vectors)), begin + movies["year"]] = 1.0
    mean = vectors.mean(axis=0)
    together = said.T @ said + MOVIES_RIDGE * np.eye(said.shape[1])
    content = np.linalg.solve(together, said.T @ (vectors - mean))
    size = part.genres.weight.shape[1]
    content[:, size:] = 0.0  # no room in the content's embeddings
    ids = np.zeros(part.movie.weight.shape)
    ids[movies["movie_id"]] = vectors - mean - said @ content
    part.movie.weight.set_value(ids.astype(np.float32))
    part.genres.weight.set_value(content[:begin, :size].astype(np.float32))
    part.words.weight.set_value(np.zeros(part.words.weight.shape, np.float32))
    part.years.weight.set_value(content[begin:, :size].astype(np.float32))
    part.content.weight.set_value(np.vstack([np.eye(size, vectors.shape[1])] * 3).astype(np.float32))
    part.content.bias.set_value(mean.astype(np.float32))


def _beside(first: Floats, others: Floats, width: int) -> NDArray[np.float32]:
    """One column and others, [n, 1 + r], filled up with zeros to [n, width]."""
    both = np.column_stack([first, others])
    return np.pad(both, [(0, 0), (0, width - both.shape[1])]).astype(np.float32)


def fit_kin(network: SequenceModel, movies: dict[str, Rows]) -> None:
    """Set the weights of the head `kin` in the movie tower.

    Args:
        network: network of the head.
        movies: rows of the movie tower's inputs, by name, of the trained movies.
    """
    part = network.movie.kin
    said = np.zeros((len(movies["genres"]), part.genres.weight.shape[0]))
    np.put_along_axis(said, movies["genres"], 1.0, axis=1)
    said[:, 0] = 0.0  # no genre
    mean, deviation = said.mean(axis=0), said.std(axis=0)
    # A genre of all movies, or of none, gets no weight.
    scale = np.divide(1.0, np.sqrt(deviation), out=np.zeros_like(deviation), where=deviation > 0)
    values, axes = np.linalg.eigh(np.cov((said - mean) * scale, rowvar=False, bias=True))
    largest = np.argsort(-values, kind="stable")[: network.sizes[3]]
    # In units of how far the products of two movies lie apart, so that the score is about as large as the other heads' logits.
    unit = np.sqrt(np.linalg.norm(values[largest])) or 1.0
    genres = scale[:, None] * axes[:, largest] / unit
    genres = np.pad(genres, [(0, 0), (0, network.sizes[3] - len(largest))])
    part.genres.weight.set_value(genres.astype(np.float32))
    part.middle.set_value((-mean @ genres).astype(np.float32))
