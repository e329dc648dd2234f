"""Building the collection of a release: embed the catalogue batch by batch, and put it into Milvus."""

from collections.abc import Callable

import numpy as np

from worker.checks import CheckError, unit_length
from worker.milvus import Milvus, Vectors
from worker.release import Release


def build_collection(
    milvus: Milvus, release: Release, collection: str, batch: int, progress: Callable[[float], None]
) -> Vectors:
    """Create the collection and insert every movie; gives the vectors, float32 [movies, dim], by row of the catalogue.

    `progress` is told the share done after each batch, and may raise to end it.

    Raises:
        CheckError: the movie tower gives values that are not finite.
        MilvusError: Milvus failed; what is there is half-built, so begin with another collection.
    """
    manifest, catalogue = release.manifest, release.catalogue
    movies = len(catalogue.movie_ids)
    milvus.create(collection, manifest.dimension)
    vectors: Vectors = np.empty((movies, manifest.dimension), dtype=np.float32)
    for start in range(0, movies, batch):
        rows = slice(start, min(start + batch, movies))
        vectors[rows] = unit_length(release.embed_movies(rows.start, rows.stop), manifest)
        if not np.isfinite(vectors[rows]).all():
            raise CheckError("the movie tower gives values that are not finite")
        milvus.insert(
            collection,
            catalogue.movie_ids[rows],
            vectors[rows],
            catalogue.years[rows],
            catalogue.genres[rows],
        )
        progress(rows.stop / movies)
    return vectors
