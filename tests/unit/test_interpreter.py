"""Objects that garbage collection skips must not need it."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from schemas.profile import Filter, ProfileEvent
from schemas.release import ActiveRecord
from schemas.settings import load_settings
from worker.release.store import ReleaseStore
from worker.serving import ReleaseLoader


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_release_that_is_not_served_any_more_is_freed_by_its_reference_count(
    fusion_store: str, no_collections: None
) -> None:
    settings = load_settings(store=fusion_store, worker={"device": "cpu"})
    name = ReleaseStore(fusion_store).names()[-1]
    record = ActiveRecord(release=name, collection=settings.names.collection(name, 1), epoch=1)
    served = ReleaseLoader(settings).load(record)
    exact = served.target.exact
    assert exact
    assert exact.filters
    exact.filters.hiding([Filter(genres=("Comedy",))])
    served.release.embed_profiles([ProfileEvent()])
    parts = [weakref.ref(part) for part in (served, served.release, exact, exact.filters)]

    del served, exact

    assert [part() for part in parts] == [None] * len(parts)
