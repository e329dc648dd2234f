"""Building the collection of a release: embed the catalogue batch by batch, into Milvus and into a file."""

from collections.abc import Callable

import numpy as np

from worker.indexer.checks import CheckError
from worker.release.release import Release
from worker.release.vectors import KnownVectors, VectorsFile, unit_length
from worker.retrieval.milvus import Milvus


def build_collection(
    milvus: Milvus,
    release: Release,
    collection: str,
    vectors: VectorsFile,
    batch: int,
    progress: Callable[[float], None],
    known: KnownVectors | None = None,
    owner: str = "",
) -> None:
    """Create the collection and insert every movie; the vectors also go to the file, by row of the catalogue.

    The collection carries its `owner`. What is `known` is not embedded. No more than `batch` movies are in memory at a time. `progress` is told the share done
    after each, and may raise to end it.

    Raises:
        CheckError: the movie tower gives values that are not finite, or the catalogue is not as long as it says.
        MilvusError: Milvus failed; what is there is half-built, so begin with another collection.
    """
    manifest = release.manifest
    milvus.create(collection, manifest.dimension, owner)
    for movies, embedded in release.embedded_movies(batch, known):
        scaled = unit_length(embedded, manifest)
        if not np.isfinite(scaled).all():
            raise CheckError("the movie tower gives values that are not finite")
        vectors.append(scaled)
        milvus.insert(collection, movies.movie_ids, scaled, movies.years, movies.genres)
        progress(min(1.0, vectors.written / manifest.movies))
    if vectors.written != manifest.movies:
        raise CheckError(
            f"the catalogue has {vectors.written} movies, and the manifest says {manifest.movies}"
        )
