"""The exact index and the index store in memory keep the contract that Milvus keeps in tests/integration/test_milvus.py."""

import pytest

from tests.index_contract import CATALOGUE, VECTORS, IndexStoreContract, MakeIndex, VectorIndexContract, fill
from tests.memory_index import MemoryStore
from worker.retrieval.exact import ExactIndex
from worker.retrieval.filters import Filters
from worker.retrieval.index import ItemIds


class TestExact(VectorIndexContract):
    @pytest.fixture
    def make_index(self) -> MakeIndex:
        return lambda _: ExactIndex(VECTORS, Filters(CATALOGUE))


class TestMemory(VectorIndexContract, IndexStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def make_index(self, store: MemoryStore) -> MakeIndex:
        def make(metric: str) -> object:
            fill(store, "it_index", metric=metric)  # type: ignore[arg-type]
            return store.index("it_index", ItemIds(CATALOGUE.movie_ids))

        return make  # type: ignore[return-value]
