"""A connection to Milvus: pymilvus' client as we set it up, and its errors sorted."""

import logging

import grpc  # type: ignore[import-untyped]
from pymilvus import MilvusClient, MilvusException

from schemas.settings import MilvusSettings

_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
_NO_DATABASE = 800  # Lite says it by code 1 and the words alone
# Not ready, unavailable, too many requests, rates limited, collection not found, not loaded: no call's own fault.
_NO_CALLS_FAULT = {1, 2, 4, 8, 9, 100, 101}
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
        db_name=settings.database_name,
        timeout=settings.timeout_s,
        grpc_options=_CHANNEL,
        dedicated=True,
        **_tls(settings),
    )


def reason_of(error: MilvusException | grpc.RpcError) -> str:
    """What the server or gRPC says, in a line."""
    text = error.message if isinstance(error, MilvusException) else f"{error.code().name}, {error.details()}"
    return " ".join(str(text).split())[:300]


def is_late(error: BaseException) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def is_refusal(error: BaseException) -> bool:
    """Whether the server answered that it cannot do this, and did not say that it may later."""
    return isinstance(error, MilvusException) and not error.retriable and error.code not in _NO_CALLS_FAULT


def refused(error: BaseException) -> bool:
    """Whether the server knows us, and refuses."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, grpc.RpcError):
            return cause.code() in _REFUSED
        # pymilvus raises errors as their own cause.
        cause = None if cause.__cause__ is cause else cause.__cause__
    return False


def lacks_database(error: BaseException, database: str) -> bool:
    """Whether there is no database of that name."""
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
