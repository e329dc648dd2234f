"""From a polled event to the index: few frames on the answering thread's stack, and any backend of the registry."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from pymilvus.grpc_gen import milvus_pb2

from schemas.settings import Settings, load_settings
from tests.index_contract import CATALOGUE, DIMENSION, VECTORS, fill, unit_vectors
from tests.memory_index import MemoryStore
from tests.unit.events import PolledEvent
from tests.unit.test_pipeline import FakePublisher, running
from worker.monitoring.http import Health
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.release.features import Unknowns
from worker.retrieval.index import BACKENDS, IndexStore, ItemIds, SearchTarget, open_store
from worker.retrieval.milvus import Milvus
from worker.retrieval.milvus_client import Connection
from worker.retrieval.retriever import Retriever
from worker.serving import Answerer, Recommender, ServedRelease, Serving
from worker.serving.cache import ListCache
from worker.serving.encoder import RecommendationEncoder

MOST_FRAMES = 9
OURS = str(Path(sys.modules["worker"].__path__[0]))


@pytest.fixture
def settings() -> Settings:
    return load_settings(worker={"device": "cpu"})


def answerer(settings: Settings, store: IndexStore) -> Answerer:
    """The worker's answerer, with a model that embeds by user id."""
    embedded = unit_vectors(10, 3)
    release = SimpleNamespace(
        manifest=SimpleNamespace(release="r"),
        embed_profiles=lambda profiles: embedded[[profile.user_id for profile in profiles]],
        unknowns=lambda _: Unknowns(0, 0),
    )
    target = SearchTarget("c", ItemIds(CATALOGUE.movie_ids), DIMENSION, 1.0, None)
    encoder = RecommendationEncoder("recommendations", "r", "c", CATALOGUE, None)
    served = ServedRelease(cast(Any, release), target, encoder, ListCache(0, fields=["user_id"]))
    metrics = Metrics(CollectorRegistry())
    recommender = Recommender(Retriever(settings, store, Health(), metrics).search, observer=metrics)
    serving = Serving(served, 1)
    return Answerer("dead-letters", lambda: serving, recommender, metrics)


def events() -> list[PolledEvent]:
    return [PolledEvent(b'{"user_id":%d}' % user, ("profiles", 0, user)) for user in range(1, 4)]


class CapturingStub:
    """Milvus' stub: keeps the files of our frames at a search, and answers it."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.thread = ""

    def Search(self, request: milvus_pb2.SearchRequest, **_: Any) -> milvus_pb2.SearchResults:  # noqa: N802
        frame = sys._getframe()
        while frame := cast(Any, frame.f_back):
            if frame.f_code.co_filename.startswith(OURS):
                self.frames.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
        self.thread = threading.current_thread().name
        answer = milvus_pb2.SearchResults()
        answer.results.topks.extend([6] * request.nq)
        answer.results.ids.int_id.data.extend(CATALOGUE.movie_ids[:6].tolist() * request.nq)
        answer.results.scores.extend([0.9, 0.8, 0.7, 0.6, 0.5, 0.4] * request.nq)
        return answer


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> CapturingStub:
    stub = CapturingStub()
    handler = SimpleNamespace(_stub=stub)
    monkeypatch.setattr(Connection, "client", lambda _: SimpleNamespace(_get_connection=lambda: handler))
    return stub


@pytest.fixture
def publisher() -> Iterator[FakePublisher]:
    yield FakePublisher()


def test_few_frames_of_ours_are_on_the_stack_at_the_call_of_milvus(
    settings: Settings, stub: CapturingStub, publisher: FakePublisher
) -> None:
    # Given a pipeline with the worker's own parts, down to pymilvus
    of = answerer(settings, Milvus(settings.milvus))
    pipeline = running(publisher, of.answer)
    # When a batch is answered
    pipeline.submit(events(), "deadline")
    assert pipeline.drain(30)
    pipeline.close(5)
    # Then it was searched in an answering thread, through few frames
    assert publisher.published == [(user, "recommendations") for user in range(1, 4)]
    assert stub.thread.startswith("answer")
    assert 0 < len(stub.frames) <= MOST_FRAMES, stub.frames


@pytest.mark.parametrize("backend", ["memory"])
def test_a_backend_is_one_file_a_line_in_the_registry_and_a_value_of_the_setting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    # Given a backend: its file is tests/memory_index.py,
    store = MemoryStore()
    # a line in the registry (worker/retrieval/index.py),
    monkeypatch.setitem(BACKENDS, backend, lambda _: store)
    # and a value of the setting (schemas/recommendation.py)
    monkeypatch.setattr("worker.serving.encoder.Retrieval", Literal["milvus", "exact", "memory"])
    chosen = settings.worker.model_copy(update={"retrieval": backend})
    settings = settings.model_copy(update={"worker": chosen})
    # When a worker that is set to it answers events
    opened = open_store(settings)
    fill(opened, "c")
    answers = answerer(settings, opened).answer(events(), Cancellation())
    # Then the lists are its own
    queries = unit_vectors(10, 3)[1:4]
    best = np.argsort(-(queries @ VECTORS.T), axis=1, kind="stable")[:, :5]
    for answer, rows in zip(answers, best, strict=True):
        result = json.loads(answer.record.value or b"")
        assert result["retrieval"] == backend
        assert [movie["movie_id"] for movie in result["movies"]] == CATALOGUE.movie_ids[rows].tolist()
