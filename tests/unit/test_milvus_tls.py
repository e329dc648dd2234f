"""TLS to a Milvus whose authority the system does not know, and no certificate of ours; tests/integration has mutual TLS."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # comes with pymilvus, without types
import pytest
import trustme
from pymilvus.grpc_gen import milvus_pb2

from schemas.settings import MilvusSettings
from worker.errors import MilvusError
from worker.retrieval.milvus import Milvus

HOST = "127.0.0.1"
# Of Milvus' calls those that it takes to list no collection.
ANSWERS = {"Connect": milvus_pb2.ConnectResponse, "ShowCollections": milvus_pb2.ShowCollectionsResponse}


def _empty(answer: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(lambda *_: answer().SerializeToString())


def pem(authority: trustme.CA, folder: Path, name: str) -> Path:
    file = folder / name
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[MilvusSettings]:
    """How the server is reached by who knows its authority."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    issued = authority.issue_cert(HOST, key_type=trustme.KeyType.RSA)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    handlers = {call: _empty(answer) for call, answer in ANSWERS.items()}
    service = grpc.method_handlers_generic_handler("milvus.proto.milvus.MilvusService", handlers)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[service])
    port = server.add_secure_port(
        f"{HOST}:0", grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
    )
    server.start()
    yield MilvusSettings(
        uri=f"https://{HOST}:{port}", tls_ca_location=pem(authority, tmp_path, "ca.pem"), timeout_s=5.0
    )
    server.stop(None)


def collections(settings: MilvusSettings) -> list[str]:
    with closing(Milvus(settings)) as server:
        return server.list("")


def test_the_authority_is_the_one_that_is_named(guarded: MilvusSettings) -> None:
    assert collections(guarded) == []


def test_a_server_that_a_stranger_signed_is_none_of_ours(guarded: MilvusSettings, tmp_path: Path) -> None:
    stranger = pem(trustme.CA(), tmp_path, "stranger.pem")

    with pytest.raises(MilvusError):
        collections(guarded.model_copy(update={"tls_ca_location": stranger, "timeout_s": 1.0}))
