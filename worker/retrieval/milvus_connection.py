"""A connection to Milvus: pymilvus' client as we set it up, and its errors sorted."""

import logging

import grpc  # type: ignore[import-untyped]
from pymilvus import MilvusClient, MilvusException
from pymilvus.exceptions import ConnectionConfigException

from schemas.errors import MarqueeError, SettingsError
from schemas.settings import MilvusSettings
from worker.errors import MilvusError, RefusedCallError, SlowMilvusError

_REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
NOT_FOUND = 100  # a collection
_NO_DATABASE = 800  # Lite says it by code 1 and the words alone
# Not ready, unavailable, too many requests, rates limited, collection not found, not loaded: no call's own fault.
_NO_CALLS_FAULT = {1, 2, 4, 8, 9, NOT_FOUND, 101}
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


def sorted_error(
    error: MilvusException | grpc.RpcError,
    what: str,
    settings: MilvusSettings,
    seconds: float,
    *,
    answered: bool,
) -> MarqueeError:
    """What a call that failed after so long raises, by what happens next.

    `answered`: the server has answered before, so its database is away, and no wrong setting.
    """
    where, reason, database = f"Milvus at {settings.uri}", _reason(error), settings.database_name
    if isinstance(error, ConnectionConfigException):
        return SettingsError(f"{where} cannot be: {error.message}; set MARQUEE_MILVUS__URI")
    if _refused(error):
        return SettingsError(f"{where} refused the token ({reason}); set MARQUEE_MILVUS__TOKEN")
    if not answered and _lacks_database(error, database):
        remedy = "create it, or set MARQUEE_MILVUS__DATABASE to one that it has"
        return SettingsError(f"{where} has no database {database} ({reason}); {remedy}")
    kind = SlowMilvusError if _is_late(error) else RefusedCallError if _is_refusal(error) else MilvusError
    gave_up = f"(given up after {seconds:.1f} s): {reason}{_remedy(error, what)}"
    return kind(f"{where} could not {what} {gave_up}")


def _reason(error: MilvusException | grpc.RpcError) -> str:
    """What the server or gRPC says, in a line."""
    text = error.message if isinstance(error, MilvusException) else f"{error.code().name}, {error.details()}"
    return " ".join(str(text).split())[:300]


def _remedy(error: MilvusException | grpc.RpcError, what: str) -> str:
    """What mends it, as the end of a sentence, where waiting does not."""
    lost = isinstance(error, MilvusException) and error.code == NOT_FOUND and what.startswith("search")
    return "; if it does not come back, `marquee reindex RELEASE` builds another" if lost else ""


def _is_late(error: BaseException) -> bool:
    """Whether the server did not answer in time."""
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def _is_refusal(error: BaseException) -> bool:
    """Whether the server answered that it cannot do this, and did not say that it may later."""
    return isinstance(error, MilvusException) and not error.retriable and error.code not in _NO_CALLS_FAULT


def _refused(error: BaseException) -> bool:
    """Whether the server knows us, and refuses."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, grpc.RpcError):
            return cause.code() in _REFUSED
        # pymilvus raises errors as their own cause.
        cause = None if cause.__cause__ is cause else cause.__cause__
    return False


def _lacks_database(error: BaseException, database: str) -> bool:
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
