"""A search ends within its timeout, also on a server that never answers."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import pytest
from pymilvus.grpc_gen import milvus_pb2

from schemas.settings import MilvusSettings
from worker.errors import MilvusError, SlowMilvusError
from worker.retrieval.index import ItemIds
from worker.retrieval.milvus import Milvus

HOST, TIMEOUT, ALLOWANCE = "127.0.0.1", 1.0, 4.0
THREADS = 3


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections, and answers none."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield f"http://{HOST}:{server.getsockname()[1]}"


@pytest.fixture
def stuck() -> Iterator[str]:
    """A server that connects, and answers no search."""
    end = Event()

    def search(*_: Any) -> bytes:
        end.wait()
        return b""

    def connected(*_: Any) -> bytes:
        return bytes(milvus_pb2.ConnectResponse().SerializeToString())

    handlers = {
        name: grpc.unary_unary_rpc_method_handler(handler)
        for name, handler in (("Connect", connected), ("Search", search))
    }
    service = grpc.method_handlers_generic_handler("milvus.proto.milvus.MilvusService", handlers)
    server = grpc.server(ThreadPoolExecutor(2 * THREADS), handlers=[service])
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield f"http://{HOST}:{port}"
    end.set()
    server.stop(None)


def failure(store: Milvus) -> tuple[MilvusError, float]:
    """The error of a search, and the seconds that it took."""
    began = time.monotonic()
    with pytest.raises(MilvusError) as raised:
        store.index("c", ItemIds(np.arange(1, 9))).search(np.ones((2, 4), np.float32), 3)
    return raised.value, time.monotonic() - began


def failures(uri: str) -> list[tuple[MilvusError, float]]:
    """Those of several threads at once."""
    with (
        closing(Milvus(MilvusSettings(uri=uri, timeout_s=TIMEOUT))) as store,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        return list(threads.map(failure, [store] * THREADS))


def test_a_server_that_accepts_and_never_answers_is_given_up_in_time(silent: str) -> None:
    for _, seconds in failures(silent):
        assert seconds < TIMEOUT + ALLOWANCE


def test_a_search_that_is_never_answered_is_given_up_in_time_and_called_slow(stuck: str) -> None:
    for error, seconds in failures(stuck):
        assert isinstance(error, SlowMilvusError)
        assert seconds < TIMEOUT + ALLOWANCE
