"""A connection to Milvus, its errors sorted by what happens next, and the search of one collection.

The search uses pymilvus' own messages and stub: its public search makes an object of every hit, which costs more than the
search itself. tests/integration/test_milvus.py compares the two.
"""

import logging
import threading
import time

import grpc  # type: ignore[import-untyped]
import numpy as np
import orjson
from pymilvus import DataType, MilvusClient, MilvusException
from pymilvus.client.prepare import Prepare
from pymilvus.exceptions import ConnectionConfigException
from pymilvus.grpc_gen.milvus_pb2 import SearchRequest

from schemas.errors import MarqueeError, SettingsError
from schemas.profile import Filter
from schemas.settings import MilvusSettings
from worker.errors import MilvusError, MixedReleasesError, RefusedCallError, SlowMilvusError
from worker.retrieval.index import NO_ROWS, Hits, ItemIds, Rows, Vectors

_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
NOT_FOUND = 100  # a collection
NOT_LOADED = 101
_NO_DATABASE = 800  # Lite has code 1 and the words alone
# Not ready, unavailable, too many requests, rates limited, collection not found, not loaded: no call's own fault.
_NO_CALLS_FAULT = {1, 2, 4, 8, 9, NOT_FOUND, NOT_LOADED}
_CHANNEL = {
    # gRPC waits up to two minutes before it tries a server again that was away.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    # pymilvus pings an idle connection every 10 s, which Milvus Lite answers by closing it (too_many_pings). Data sent
    # into a dead connection still ends it after 5 s (TCP_USER_TIMEOUT, which follows the keepalive's timeout).
    "grpc.keepalive_permit_without_calls": False,
}
_LEAST_SECONDS = 0.05  # of a call whose time is spent: gRPC refuses none
_READ_NEWEST = 1  # a guarantee timestamp of 1 waits for nothing: a collection never changes once it is loaded
_SCHEMA = {"fields": [{"name": "vector", "type": DataType.FLOAT_VECTOR}]}  # the type of a query's bytes

# pymilvus logs its errors with a traceback, and raises them as well.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """One connection, opened by the first call that needs it; any number of threads may share it."""

    def __init__(self, settings: MilvusSettings) -> None:
        self.timeout = settings.timeout_s
        self.metadata = [("dbname", settings.database_name)] if settings.database_name else None
        self.answered = False  # the server has answered a call
        self._settings = settings
        self._connecting = threading.Lock()
        self._client: MilvusClient | None = None

    def client(self) -> MilvusClient:
        """pymilvus' client. Threads wait for one that connects no longer than a call may take."""
        if not self._connecting.acquire(timeout=self.timeout):
            raise SlowMilvusError(f"Milvus at {self._settings.uri} did not connect within {self.timeout:g} s")
        try:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client
        finally:
            self._connecting.release()

    def left(self, began: float) -> float:
        """Seconds that a call has left, which began at a moment of the monotonic clock."""
        return max(_LEAST_SECONDS, began + self.timeout - time.monotonic())

    def close(self) -> None:
        """Close the connection; the next call would open a new one."""
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None

    def failed(self, error: Exception, what: str, seconds: float) -> MarqueeError:
        """The error that a call raises, which failed with `error` after so many seconds."""
        where, database = f"Milvus at {self._settings.uri}", self._settings.database_name
        if not isinstance(error, MilvusException | grpc.RpcError):  # another thread closed the connection
            return MilvusError(f"{where} could not {what}: {error}")
        reason = _reason(error)
        if isinstance(error, ConnectionConfigException):
            return SettingsError(f"{where} cannot be: {error.message}; set MARQUEE_MILVUS__URI")
        if _refused(error):
            return SettingsError(f"{where} refused the token ({reason}); set MARQUEE_MILVUS__TOKEN")
        # A server that has answered has the database, so it is away, and the setting is right.
        if not self.answered and _lacks_database(error, database):
            remedy = "create it, or set MARQUEE_MILVUS__DATABASE to one that it has"
            return SettingsError(f"{where} has no database {database} ({reason}); {remedy}")
        kind = SlowMilvusError if _is_late(error) else RefusedCallError if _is_refusal(error) else MilvusError
        return kind(
            f"{where} could not {what} (given up after {seconds:.1f} s): {reason}{_remedy(error, what)}"
        )


class MilvusIndex:
    """The index of one collection, whose primary keys are item ids."""

    def __init__(self, connection: Connection, collection: str, items: ItemIds, ef: int) -> None:
        """`ef`: candidates that a search of an HNSW index keeps; FLAT looks at everything."""
        self._connection = connection
        self._collection = collection
        self._items = items
        self._ef = ef

    def search(
        self, vectors: Vectors, k: int, *, filter_: Filter | None = None, exclusions: Rows = NO_ROWS
    ) -> Hits:
        """As `VectorIndex.search`."""
        request = self._request(vectors, k, expression(filter_, self._items.ids[exclusions]))
        began, connection = time.monotonic(), self._connection
        try:
            client = connection.client()
            stub = client._get_connection()._stub
            # One deadline for connecting, searching, loading and searching again.
            response = stub.Search(request, timeout=connection.left(began), metadata=connection.metadata)
            if response.status.code == NOT_LOADED:
                # A restarted Lite loads on request only, and Standalone needs a while.
                client.load_collection(self._collection, timeout=connection.left(began), _async=True)
                response = stub.Search(request, timeout=connection.left(began), metadata=connection.metadata)
            if response.status.code or response.status.error_code:
                raise MilvusException.from_status(response.status)
        except (MilvusException, grpc.RpcError, ValueError) as error:
            raise connection.failed(error, f"search {self._collection}", time.monotonic() - began) from error
        connection.answered = True
        found = response.results
        rows = self._items.rows(np.array(found.ids.int_id.data, np.int64))
        if rows.min(initial=0) < 0:
            raise MixedReleasesError(f"{self._collection} contains items that are not in the catalogue")
        return Hits.of(found.topks, rows, np.array(found.scores, np.float32))

    def _request(self, vectors: Vectors, k: int, expression: str) -> SearchRequest:
        return Prepare.search_requests_with_expr(
            collection_name=self._collection,
            anns_field="vector",
            param={"params": {"ef": max(k, self._ef)}},
            limit=k,
            # Bytes: pymilvus would pack the vectors of an array number by number, two thirds of our share of the time.
            data=[vector.tobytes() for vector in vectors],
            schema=_SCHEMA,
            expr=expression,
            # Lite sends whole rows with their vectors, at twice the time, unless it is asked for a field.
            output_fields=["movie_id"],
            use_default_consistency=False,
            consistency_level=0,
            guarantee_timestamp=_READ_NEWEST,
        )


def expression(filter_: Filter | None, excluded: Rows = NO_ROWS) -> str:
    """A filter, and ids that are excluded, in Milvus' language, over the fields of a collection."""
    clauses = []
    if filter_ and filter_.genres:
        clauses.append(f"array_contains_any(genres, {orjson.dumps(filter_.genres).decode()})")
    if filter_ and filter_.not_genres:
        clauses.append(f"not array_contains_any(genres, {orjson.dumps(filter_.not_genres).decode()})")
    if filter_ and filter_.years:
        clauses.append(f"year >= {max(filter_.years[0], 1)} and year <= {filter_.years[1]}")
    if len(excluded):
        clauses.append(f"movie_id not in {excluded.tolist()}")
    return " and ".join(clauses)


def connect(settings: MilvusSettings) -> MilvusClient:
    """pymilvus' own client; raises as pymilvus does.

    The connection is dedicated: pymilvus shares one by address, with the options of the first caller.
    """
    return MilvusClient(
        uri=settings.uri,
        token=settings.token.get_secret_value() if settings.token else "",
        db_name=settings.database_name,
        timeout=settings.timeout_s,
        grpc_options=_CHANNEL,
        dedicated=True,
        **_tls(settings),
    )


def _reason(error: MilvusException | grpc.RpcError) -> str:
    """The server's or gRPC's message, in a line."""
    text = error.message if isinstance(error, MilvusException) else f"{error.code().name}, {error.details()}"
    return " ".join(str(text).split())[:300]


def _remedy(error: MilvusException | grpc.RpcError, what: str) -> str:
    """The command that helps where waiting does not, as the end of a sentence."""
    lost = isinstance(error, MilvusException) and error.code == NOT_FOUND and what.startswith("search")
    return "; if it does not come back, `marquee reindex RELEASE` builds another" if lost else ""


def _is_late(error: BaseException) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _is_refusal(error: BaseException) -> bool:
    """Whether the server answered that it cannot do this, and not that it may later."""
    return isinstance(error, MilvusException) and not error.retriable and error.code not in _NO_CALLS_FAULT


def _refused(error: BaseException) -> bool:
    """Whether the server refused the credentials."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, grpc.RpcError):
            return cause.code() in _REFUSED
        # pymilvus raises errors as their own cause.
        cause = None if cause.__cause__ is cause else cause.__cause__
    return False


def _lacks_database(error: BaseException, database: str) -> bool:
    """Whether the server has no database of that name."""
    if not database or not isinstance(error, MilvusException):
        return False
    return error.code == _NO_DATABASE or f"database '{database}' does not exist" in str(error.message)


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
