"""Milvus as the worker and the indexer see it: collections of movie vectors, and one search for a whole batch."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.prepare import Prepare

from schemas.profile import MAX_GENRE_LENGTH, MAX_GENRES
from schemas.settings import MilvusSettings
from worker.errors import ForeignCollectionError, MilvusError
from worker.retrieval.hits import Ids, Scores, columns, stacked
from worker.retrieval.milvus_connection import NOT_FOUND, connect, sorted_error

__all__ = ["EF_MIN", "Ids", "IndexType", "Metric", "Milvus", "Scores", "Vectors", "connect", "stacked"]

Vectors = npt.NDArray[np.float32]
Metric = Literal["COSINE", "IP"]
T = TypeVar("T")

IndexType = Literal["FLAT", "HNSW"]
_INDEXES: dict[IndexType, dict[str, int]] = {"FLAT": {}, "HNSW": {"M": 16, "efConstruction": 200}}
EF_MIN = 64  # HNSW's candidates; at least the limit, more for recall
_READ_NEWEST = 1  # a guarantee timestamp of 1 waits for nothing: a collection never changes once it is loaded
_NOT_LOADED = 101
_SCHEMA = {"fields": [{"name": "vector", "type": DataType.FLOAT_VECTOR}]}  # what the bytes of a query are
_WARM_SECONDS, _WARM_STEADY = (
    3.0,
    3,
)  # at most; searches in a row that are no faster than the best before them
_WARM_QUERIES, _WARM_LIMIT = 256, 10
_OWNER = "marquee.owner"  # the property of a collection that says which deployment made it


class Milvus:
    """One connection, made when first needed; any number of threads may share it.

    Every call raises MilvusError within about `timeout_s` of the settings when the server or the network fails (the call
    may be repeated), SlowMilvusError where it was not answered in that time, and SettingsError when the server refuses
    the token or the URI is no URI.
    """

    def __init__(self, settings: MilvusSettings) -> None:
        self._settings = settings
        self._timeout = settings.timeout_s
        self._metadata = [("dbname", settings.database_name)] if settings.database_name else None
        self._connecting = threading.Lock()
        self._client: MilvusClient | None = None
        self._answered = False  # a database that was there once is away, no wrong setting

    def search(
        self, collection: str, vectors: Vectors, limit: int, expression: str = "", *, ef: int = EF_MIN
    ) -> tuple[Ids, Scores]:
        """The nearest movies of each vector, by the collection's own metric.

        Args:
            vectors: float32 [n, dim].
            expression: Milvus' own, over the fields `movie_id`, `year` and `genres`; only movies that meet it are found.
            ef: candidates that a search of an HNSW index keeps; FLAT looks at everything.

        Returns:
            ids int64 [n, m] and what the metric gives float32 [n, m], best first; m <= limit is the longest answer,
            shorter ones are filled up with -1 and -inf.
        """
        request = Prepare.search_requests_with_expr(
            collection_name=collection,
            anns_field="vector",
            param={"params": {"ef": max(limit, ef)}},
            limit=limit,
            # Bytes as they are: of an array it would pack each vector number by number, two thirds of our share.
            data=[vector.tobytes() for vector in vectors],
            schema=_SCHEMA,
            expr=expression,
            # Asked for nothing, Lite sends whole rows, vectors and all, at twice the time.
            output_fields=["movie_id"],
            use_default_consistency=False,
            consistency_level=0,
            guarantee_timestamp=_READ_NEWEST,
        )

        def call() -> tuple[Ids, Scores]:
            # The stub itself: pymilvus would make an object of every hit, which costs more than the search.
            stub = self._connected()._get_connection()._stub
            response = stub.Search(request, timeout=self._timeout, metadata=self._metadata)
            if response.status.code or response.status.error_code:
                raise MilvusException.from_status(response.status)
            found = response.results
            return columns(found.topks, found.ids.int_id.data, found.scores, len(vectors))

        return self._call(f"search {collection}", lambda: self._loaded(collection, call))

    def create(self, collection: str, dimension: int, owner: str = "") -> None:
        """Make an empty collection for vectors of `dimension`; one of that name and owner is dropped first.

        Raises:
            ForeignCollectionError: there is one of that name with another owner.
        """

        def call() -> None:
            client = self._connected()
            if (found := self._owner(client, collection)) is not None:
                if found != owner:
                    raise ForeignCollectionError(
                        f"Milvus at {self._settings.uri} has a collection {collection} already, of {found or 'no owner'}"
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

    def insert(
        self,
        collection: str,
        movie_ids: Ids,
        vectors: Vectors,
        years: npt.NDArray[np.integer],
        genres: Sequence[Sequence[str]],
    ) -> None:
        """Add movies: ids [n], vectors float32 [n, dim], years [n], genres of each.

        Not to be repeated after a MilvusError, because the rows may be there: begin a new collection instead.
        """
        rows = [
            {"movie_id": movie_id, "vector": vector, "year": year, "genres": list(names)[:MAX_GENRES]}
            for movie_id, vector, year, names in zip(
                movie_ids.tolist(), vectors, years.tolist(), genres, strict=True
            )
        ]
        self._call(
            f"insert into {collection}",
            lambda: self._connected().insert(collection, rows, timeout=self._timeout),
        )

    def finish(self, collection: str, metric: Metric, kind: IndexType = "FLAT") -> None:
        """Flush, index and load; may be repeated after a MilvusError."""

        def call() -> None:
            client = self._connected()
            client.flush(collection, timeout=self._timeout)
            if not client.list_indexes(collection, timeout=self._timeout):
                index = client.prepare_index_params()
                index.add_index("vector", index_type=kind, metric_type=metric, params=_INDEXES[kind])
                client.create_index(collection, index, timeout=self._timeout)
            client.load_collection(collection, timeout=self._timeout)

        self._call(f"flush, index and load {collection}", call)

    def rows(self, collection: str) -> int:
        """How many movies a loaded collection holds, counted by the server."""

        def call() -> int:
            answer = self._connected().query(
                collection,
                filter="",
                output_fields=["count(*)"],
                timeout=self._timeout,
                consistency_level="Strong",
            )
            return int(answer[0]["count(*)"])

        return self._call(f"count {collection}", lambda: self._loaded(collection, call))

    def owner(self, collection: str) -> str | None:
        """The owner that a collection carries, "" where it carries none; None where there is no such collection."""
        return self._call(f"describe {collection}", lambda: self._owner(self._connected(), collection))

    def mark(self, collection: str, owner: str) -> None:
        """Have a collection carry its owner."""
        self._call(
            f"mark {collection}",
            lambda: self._connected().alter_collection_properties(
                collection, {_OWNER: owner}, timeout=self._timeout
            ),
        )

    def drop(self, collection: str) -> None:
        """Remove a collection; one that is not there is as good."""
        self._call(
            f"drop {collection}",
            lambda: self._connected().drop_collection(collection, timeout=self._timeout),
        )

    def collections(self, prefix: str) -> list[str]:
        """The names of all collections that begin with `prefix`."""
        names = self._call(
            "list collections", lambda: self._connected().list_collections(timeout=self._timeout)
        )
        return sorted(name for name in names if name.startswith(prefix))

    def version(self) -> str:
        """The server's version, as it tells it."""
        return str(
            self._call(
                "tell its version", lambda: self._connected().get_server_version(timeout=self._timeout)
            )
        )

    def point_alias(self, alias: str, collection: str) -> None:
        """Make `alias` mean `collection`; it is for people, nothing of ours searches through it."""

        def call() -> None:
            client = self._connected()
            try:
                client.alter_alias(collection, alias, timeout=self._timeout)
            except MilvusException:  # the servers disagree on the code for an alias that is not there
                client.create_alias(collection, alias, timeout=self._timeout)

        self._call(f"point {alias} at {collection}", call)

    def drop_alias(self, alias: str, collection: str) -> None:
        """Remove an alias where it means `collection`: a server may keep a collection for as long as it has one."""

        def call() -> None:
            client = self._connected()
            found = client.list_aliases(collection, timeout=self._timeout)
            if alias in found.get("aliases", ()):
                client.drop_alias(alias, timeout=self._timeout)

        self._call(f"drop the alias {alias}", call)

    def close(self) -> None:
        """Close the connection; the next call would make a new one."""
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self) -> MilvusClient:
        with self._connecting:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client

    def _owner(self, client: MilvusClient, collection: str) -> str | None:
        try:
            described = client.describe_collection(collection, timeout=self._timeout)
        except MilvusException as error:
            if error.code != NOT_FOUND:
                raise
            return None
        return str(described.get("properties", {}).get(_OWNER, ""))

    def _loaded(self, collection: str, call: Callable[[], T]) -> T:
        """Once more where a restarted server has not loaded it: Lite must be told to, Standalone takes its time."""
        try:
            return call()
        except MilvusException as error:
            if error.code != _NOT_LOADED:
                raise
            self._connected().load_collection(collection, timeout=self._timeout, _async=True)
            return call()

    def _call(self, what: str, call: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            answer = call()
            self._answered = True
            return answer
        except (MilvusException, grpc.RpcError) as error:
            seconds = time.monotonic() - began
            raise sorted_error(error, what, self._settings, seconds, answered=self._answered) from error
        except ValueError as error:  # the connection was closed by another thread
            raise MilvusError(f"Milvus at {self._settings.uri} could not {what}: {error}") from error


def warm(milvus: Milvus, collection: str, queries: Vectors) -> None:
    """Search until searches get no faster: a collection that was just loaded answers at a tenth of its speed."""
    batch: npt.NDArray[np.float32] = np.resize(queries, (_WARM_QUERIES, queries.shape[1]))
    deadline = time.monotonic() + _WARM_SECONDS
    best, steady = float("inf"), 0
    while steady < _WARM_STEADY and time.monotonic() < deadline:
        began = time.monotonic()
        milvus.search(collection, batch, _WARM_LIMIT)
        took = time.monotonic() - began
        steady = 0 if took < 0.9 * best else steady + 1
        best = min(best, took)
