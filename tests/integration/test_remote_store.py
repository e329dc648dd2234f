"""Indexed from, and served from, a store that is no folder of this machine."""

import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

from schemas.settings import Settings
from tests.testbed.indexing import TIMEOUT, carry_out, indexer, view_of
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore
from worker.serving import ReleaseLoader
from worker.serving.loader import embed_catalogue


def test_a_release_in_a_remote_store_is_indexed_and_served(
    lite_settings: Settings, two_releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").put(f"{two_releases}/", f"{url}/", recursive=True)
    settings = lite_settings.model_copy(update={"store": url})
    ensure_topics(settings, TIMEOUT)
    release = ReleaseStore(url).names()[0]

    with indexer(settings):
        assert carry_out(settings, "index", release).outcome == "done"

    view = view_of(settings)
    record = view.releases[release]
    assert view.active and record.vectors_sha256
    served = ReleaseLoader(settings).load(view.active, record)
    assert served.target.exact is not None
    assert np.array_equal(
        served.target.exact.vectors, ReleaseStore(url).read_vectors(release, record.vectors_sha256)
    )
    assert np.allclose(served.target.exact.vectors, embed_catalogue(served.release), atol=1e-6)
