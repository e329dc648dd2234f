"""Milvus as an index store: collections of movies, with the movie id as primary key."""

import time
from collections.abc import Callable
from typing import TypeVar

import grpc  # type: ignore[import-untyped]
from pymilvus import DataType, MilvusClient, MilvusException

from schemas.profile import MAX_GENRE_LENGTH, MAX_GENRES
from schemas.settings import MilvusSettings
from worker.errors import ForeignCollectionError
from worker.release.catalogue import Catalogue
from worker.retrieval.index import EF_MIN, IndexType, ItemIds, Metric, Vectors
from worker.retrieval.milvus_client import NOT_FOUND, NOT_LOADED, Connection, MilvusIndex

T = TypeVar("T")
Names = list[str]  # `list` is a method below

_INDEXES: dict[IndexType, dict[str, int]] = {"FLAT": {}, "HNSW": {"M": 16, "efConstruction": 200}}
_OWNER = "marquee.owner"  # the property of a collection with the deployment that created it


class Milvus:
    """As `IndexStore`. A call that was not answered in time raises SlowMilvusError."""

    def __init__(self, settings: MilvusSettings) -> None:
        self._uri = settings.uri
        self._timeout = settings.timeout_s
        self._connection = Connection(settings)

    def index(self, collection: str, items: ItemIds, ef: int = EF_MIN) -> MilvusIndex:
        return MilvusIndex(self._connection, collection, items, ef)

    def create(self, collection: str, dimension: int, owner: str = "") -> None:
        def call() -> None:
            client = self._connection.client()
            if (found := self._owner(client, collection)) is not None:
                if found != owner:
                    raise ForeignCollectionError(
                        f"Milvus at {self._uri} has a collection {collection} already, of {found or 'no owner'}"
                    )
                client.drop_collection(collection, timeout=self._timeout)
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("movie_id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
            schema.add_field("year", DataType.INT64)
            schema.add_field(
                "genres",
                DataType.ARRAY,
                element_type=DataType.VARCHAR,
                max_capacity=MAX_GENRES,
                max_length=MAX_GENRE_LENGTH,
            )
            client.create_collection(
                collection,
                schema=schema,
                timeout=self._timeout,
                consistency_level="Eventually",
                properties={_OWNER: owner} if owner else None,
            )

        self._call(f"create {collection}", call)

    def insert(self, collection: str, items: Catalogue, vectors: Vectors) -> None:
        rows = [
            {"movie_id": movie_id, "vector": vector, "year": year, "genres": list(names)[:MAX_GENRES]}
            for movie_id, vector, year, names in zip(
                items.movie_ids.tolist(), vectors, items.years.tolist(), items.genres, strict=True
            )
        ]
        self._call(
            f"insert into {collection}",
            lambda: self._connection.client().insert(collection, rows, timeout=self._timeout),
        )

    def finish(self, collection: str, metric: Metric, kind: IndexType = "FLAT") -> None:
        def call() -> None:
            client = self._connection.client()
            client.flush(collection, timeout=self._timeout)
            if not client.list_indexes(collection, timeout=self._timeout):
                index = client.prepare_index_params()
                index.add_index("vector", index_type=kind, metric_type=metric, params=_INDEXES[kind])
                client.create_index(collection, index, timeout=self._timeout)
            client.load_collection(collection, timeout=self._timeout)

        self._call(f"flush, index and load {collection}", call)

    def count(self, collection: str) -> int:
        def call() -> int:
            client = self._connection.client()
            try:
                return self._counted(client, collection)
            except MilvusException as error:
                if error.code != NOT_LOADED:
                    raise
                client.load_collection(collection, timeout=self._timeout, _async=True)
                return self._counted(client, collection)

        return self._call(f"count {collection}", call)

    def owner(self, collection: str) -> str | None:
        return self._call(
            f"describe {collection}", lambda: self._owner(self._connection.client(), collection)
        )

    def mark(self, collection: str, owner: str) -> None:
        self._call(
            f"mark {collection}",
            lambda: self._connection.client().alter_collection_properties(
                collection, {_OWNER: owner}, timeout=self._timeout
            ),
        )

    def drop(self, collection: str) -> None:
        self._call(
            f"drop {collection}",
            lambda: self._connection.client().drop_collection(collection, timeout=self._timeout),
        )

    def list(self, prefix: str) -> Names:
        names = self._call(
            "list collections", lambda: self._connection.client().list_collections(timeout=self._timeout)
        )
        return sorted(name for name in names if name.startswith(prefix))

    def version(self) -> str:
        return str(
            self._call(
                "tell its version",
                lambda: self._connection.client().get_server_version(timeout=self._timeout),
            )
        )

    def alias(self, alias: str, collection: str) -> None:
        def call() -> None:
            client = self._connection.client()
            try:
                client.alter_alias(collection, alias, timeout=self._timeout)
            except MilvusException:  # the servers disagree on the code for an alias that does not exist
                client.create_alias(collection, alias, timeout=self._timeout)

        self._call(f"point {alias} at {collection}", call)

    def drop_alias(self, alias: str, collection: str) -> None:
        def call() -> None:
            client = self._connection.client()
            found = client.list_aliases(collection, timeout=self._timeout)
            if alias in found.get("aliases", ()):
                client.drop_alias(alias, timeout=self._timeout)

        self._call(f"drop the alias {alias}", call)

    def close(self) -> None:
        self._connection.close()

    def _owner(self, client: MilvusClient, collection: str) -> str | None:
        try:
            described = client.describe_collection(collection, timeout=self._timeout)
        except MilvusException as error:
            if error.code != NOT_FOUND:
                raise
            return None
        return str(described.get("properties", {}).get(_OWNER, ""))

    def _counted(self, client: MilvusClient, collection: str) -> int:
        answer = client.query(
            collection,
            filter="",
            output_fields=["count(*)"],
            timeout=self._timeout,
            consistency_level="Strong",
        )
        return int(answer[0]["count(*)"])

    def _call(self, what: str, call: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            result = call()
        except (MilvusException, grpc.RpcError, ValueError) as error:
            raise self._connection.failed(error, what, time.monotonic() - began) from error
        self._connection.answered = True
        return result
