"""What is left out of garbage collection must not need it."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from schemas.profile import Filter, ProfileEvent
from schemas.settings import load_settings
from worker.release.store import ReleaseStore
from worker.retrieval.milvus import Milvus
from worker.serving.loader import ReleaseLoader


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_release_that_nobody_serves_any_more_goes_by_its_reference_count(
    fusion_store: str, no_collections: None
) -> None:
    settings = load_settings(store=fusion_store, worker={"device": "cpu"})
    name = ReleaseStore(fusion_store).names()[-1]
    loader = ReleaseLoader(settings, Milvus(settings.milvus))
    served = loader.read(name, settings.names.collection(name, 1), None, None)
    served.filters.asked([Filter(genres=("Comedy",))])
    served.release.embed_profiles([ProfileEvent()])
    parts = [weakref.ref(part) for part in (served, served.release, served.exact, served.filters)]

    del served

    assert [part() for part in parts] == [None] * len(parts)
