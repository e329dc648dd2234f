"""An active release without an indexer, for tests of the worker alone: the collection, then the records."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from schemas import kafka
from schemas.release import ACTIVE_KEY, ActiveRecord, ReleaseRecord, ReleaseState, release_key
from schemas.settings import Settings
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus


def activate(
    settings: Settings, *, epoch: int = 1, release: str | None = None, plain: bool = False
) -> ActiveRecord:
    """Build the collection of a release of the store (the newest if none is named), and say that it serves.

    With `plain` the collection has the name that earlier indexers gave.
    """
    ensure_topics(settings, 30)
    store = ReleaseStore(settings.store)
    name = release or store.names()[-1]
    loaded = store.load(name)
    catalogue = loaded.catalogue
    vectors = loaded.embed_movies(0, len(catalogue))
    collection = settings.names.collection(name, epoch)
    if plain:
        collection = collection.replace(settings.names.collection_prefix, settings.names.plain_prefix, 1)
    milvus = Milvus(settings.milvus)
    milvus.create(collection, loaded.manifest.dimension)
    milvus.insert(collection, catalogue, vectors)
    milvus.finish(collection, loaded.manifest.metric)
    milvus.close()
    active = ActiveRecord(release=name, collection=collection, epoch=epoch)
    record = ReleaseRecord(
        release=name,
        state=ReleaseState.ACTIVE,
        collection=collection,
        vectors_sha256=keep_vectors(store, name, vectors),
    )
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.releases, record.model_dump_json().encode(), release_key(name))
    producer.produce(settings.names.releases, active.model_dump_json().encode(), ACTIVE_KEY)
    assert producer.flush(30) == 0
    return active


def keep_vectors(store: ReleaseStore, release: str, vectors: NDArray[np.float32]) -> str:
    """Keep the catalogue's vectors, float32 [movies, dimension]; gives the file's sha256."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        np.save(path, vectors)
        return store.keep_vectors(release, path)
