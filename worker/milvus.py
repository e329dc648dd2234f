"""Milvus as the worker and the indexer see it: collections of movie vectors, and one search for a whole batch."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.prepare import Prepare
from pymilvus.exceptions import ConnectionConfigException

from schemas.errors import SettingsError
from schemas.profile import MAX_GENRE_LENGTH, MAX_GENRES
from schemas.settings import MilvusSettings
from worker.errors import MilvusError, SlowMilvusError

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
Metric = Literal["COSINE", "IP"]
T = TypeVar("T")
Column = TypeVar("Column", np.int64, np.float32)

IndexType = Literal["FLAT", "HNSW"]
_INDEXES: dict[IndexType, dict[str, int]] = {"FLAT": {}, "HNSW": {"M": 16, "efConstruction": 200}}
EF_MIN = 64  # HNSW's candidates; at least the limit, more for recall
_READ_NEWEST = 1  # a guarantee timestamp of 1 waits for nothing: a collection never changes once it is loaded
_NOT_LOADED = 101
_SCHEMA = {"fields": [{"name": "vector", "type": DataType.FLOAT_VECTOR}]}  # what the bytes of a query are
_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_CHANNEL = {
    # gRPC waits up to two minutes before it tries a server again that was away.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # pymilvus pings an idle connection every 10 s, which Milvus Lite answers by closing it (too_many_pings). What is
    # sent into a dead connection still ends it after 5 s (TCP_USER_TIMEOUT, which follows the keepalive's timeout).
    "grpc.keepalive_permit_without_calls": False,
}

# pymilvus logs, with a traceback, what it raises as well.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


def connect(settings: MilvusSettings) -> MilvusClient:
    """pymilvus' own client, for what `Milvus` does not do; raises what pymilvus does.

    The connection is its own: pymilvus shares one by address, with the options of whoever came first.
    """
    return MilvusClient(
        uri=settings.uri,
        token=settings.token.get_secret_value() if settings.token else "",
        timeout=settings.timeout_s,
        grpc_options=_CHANNEL,
        dedicated=True,
        **_tls(settings),
    )


class Milvus:
    """One connection, made when first needed; any number of threads may share it.

    Every call raises MilvusError within about `timeout_s` of the settings when the server or the network fails (the call
    may be repeated), SlowMilvusError where it was not answered in that time, and SettingsError when the server refuses
    the token or the URI is no URI.
    """

    def __init__(self, settings: MilvusSettings) -> None:
        self._settings = settings
        self._timeout = settings.timeout_s
        self._connecting = threading.Lock()
        self._client: MilvusClient | None = None

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
            response = self._connected()._get_connection()._stub.Search(request, timeout=self._timeout)
            if response.status.code or response.status.error_code:
                raise MilvusException.from_status(response.status)
            found = response.results
            return _columns(found.topks, found.ids.int_id.data, found.scores, len(vectors))

        return self._call(f"search {collection}", lambda: self._loaded(collection, call))

    def create(self, collection: str, dimension: int) -> None:
        """Make an empty collection for vectors of `dimension`; one of that name is dropped first."""

        def call() -> None:
            client = self._connected()
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
                collection, schema=schema, timeout=self._timeout, consistency_level="Eventually"
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
        where = f"Milvus at {self._settings.uri}"
        try:
            return call()
        except ConnectionConfigException as error:
            raise SettingsError(f"{where} cannot be: {error.message}; set MARQUEE_MILVUS__URI") from error
        except (MilvusException, grpc.RpcError) as error:
            reason = _reason(error)
            if _refused(error):
                raise SettingsError(
                    f"{where} refused the token ({reason}); set MARQUEE_MILVUS__TOKEN"
                ) from error
            took = time.monotonic() - began
            kind = SlowMilvusError if _is_late(error) else MilvusError
            raise kind(f"{where} could not {what} (given up after {took:.1f} s): {reason}") from error
        except ValueError as error:  # the connection was closed by another thread
            raise MilvusError(f"{where} could not {what}: {error}") from error


def _columns(
    lengths: Sequence[int], ids: Sequence[int], scores: Sequence[float], n: int
) -> tuple[Ids, Scores]:
    """The flat columns of an answer as [n, m] arrays."""
    flat_ids, flat_scores = np.array(ids, dtype=np.int64), np.array(scores, dtype=np.float32)
    m = max(lengths, default=0)
    if len(flat_ids) == n * m:
        return flat_ids.reshape(n, m), flat_scores.reshape(n, m)
    filled = np.arange(m) < np.array(lengths)[:, None]
    padded_ids = np.full((n, m), -1, dtype=np.int64)
    padded_scores = np.full((n, m), -np.inf, dtype=np.float32)
    padded_ids[filled], padded_scores[filled] = flat_ids, flat_scores
    return padded_ids, padded_scores


def stacked(answers: Sequence[tuple[Ids, Scores]]) -> tuple[Ids, Scores]:
    """The answers of several searches, one below the other, as wide as the widest, filled up as those are."""
    m = max(ids.shape[1] for ids, _ in answers)
    return (
        np.concatenate([_widened(ids, m, -1) for ids, _ in answers]),
        np.concatenate([_widened(scores, m, -np.inf) for _, scores in answers]),
    )


def _widened(columns: npt.NDArray[Column], m: int, fill: float) -> npt.NDArray[Column]:
    return np.pad(columns, ((0, 0), (0, m - columns.shape[1])), constant_values=fill)


def _tls(settings: MilvusSettings) -> dict[str, str]:
    """pymilvus' options: it takes the authorities by one name alone, and by another beside a client's certificate."""
    if settings.tls_ca_location is None:
        return {}
    authorities = str(settings.tls_ca_location)
    if settings.tls_certificate_location is None:
        return {"server_pem_path": authorities}
    return {
        "ca_pem_path": authorities,
        "client_pem_path": str(settings.tls_certificate_location),
        "client_key_path": str(settings.tls_key_location),
    }


def _reason(error: MilvusException | grpc.RpcError) -> str:
    text = error.message if isinstance(error, MilvusException) else f"{error.code().name}, {error.details()}"
    return " ".join(str(text).split())[:300]


def _is_late(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _refused(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, grpc.RpcError):
            return cause.code() in _REFUSED
        # pymilvus raises errors as their own cause.
        cause = None if cause.__cause__ is cause else cause.__cause__
    return False
