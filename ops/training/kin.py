"""The part `kin` of the sequence model, in closed form: how much a movie is of the genres of a history's movies.

The inner product of two movies' genres, each as 0 or 1 less its mean, so that to lack what the others have counts against a movie, and
divided by the root of its deviation, so that a rare genre says more than a common one (Pareto scaling: van den Berg et al.,
"Centering, scaling, and transformations", 2006). Principal components bring it to the size of the vectors' part.
"""

import numpy as np
from numpy.typing import NDArray

from ops.training.sequence import SequenceModel

Rows = NDArray[np.int64]


def fit_kin(network: SequenceModel, movies: dict[str, Rows]) -> None:
    """Set the weights of the movie tower's part.

    Args:
        network: whose part it is.
        movies: rows of the movie tower's inputs, by name, of the movies that are told apart.
    """
    part = network.movie.kin
    said = np.zeros((len(movies["genres"]), part.genres.weight.shape[0]))
    np.put_along_axis(said, movies["genres"], 1.0, axis=1)
    said[:, 0] = 0.0  # no genre
    mean, deviation = said.mean(axis=0), said.std(axis=0)
    # What all movies have, or none, tells nothing.
    scale = np.divide(1.0, np.sqrt(deviation), out=np.zeros_like(deviation), where=deviation > 0)
    values, axes = np.linalg.eigh(np.cov((said - mean) * scale, rowvar=False, bias=True))
    largest = np.argsort(-values, kind="stable")[: network.sizes[3]]
    # In units of how far the products of two movies lie apart, so that the score is about as large as the other parts' logits.
    unit = np.sqrt(np.linalg.norm(values[largest])) or 1.0
    genres = scale[:, None] * axes[:, largest] / unit
    genres = np.pad(genres, [(0, 0), (0, network.sizes[3] - len(largest))])
    part.genres.weight.set_value(genres.astype(np.float32))
    part.middle.set_value((-mean @ genres).astype(np.float32))
