"""Local Milvus, Lite and Standalone: data survives kill -9, servers run side by side, a failed start names its cause."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
from ops.local.ports import free_port
from ops.local.process import LocalError
from schemas.settings import MilvusSettings
from worker.retrieval.milvus_client import connect

ROWS = 20
Server = Callable[..., LocalMilvus]
both = pytest.mark.parametrize("server", [MilvusLite, MilvusStandalone])


def settings_of(milvus: LocalMilvus) -> MilvusSettings:
    return MilvusSettings(uri=milvus.uri, timeout_s=60)


def fill(milvus: LocalMilvus, collection: str) -> None:
    with closing(connect(settings_of(milvus))) as client:
        client.create_collection(collection, dimension=4, metric_type="IP")
        client.insert(collection, [{"id": row, "vector": [float(row)] * 4} for row in range(ROWS)])
        client.flush(collection)


@both
def test_data_outlives_kill_9(server: Server, tmp_path: Path) -> None:
    with server(tmp_path) as milvus:
        # Given a collection
        uri, pid = milvus.uri, milvus.pid
        fill(milvus, "movies")
        # When the server is killed and started again
        milvus.kill()
        assert milvus.pid is None
        milvus.restart()
        # Then it is another process at the same address, and has the collection
        assert milvus.uri == uri
        assert milvus.pid != pid
        with closing(connect(settings_of(milvus))) as client:
            assert client.list_collections() == ["movies"]
            assert client.get_collection_stats("movies")["row_count"] == ROWS


def test_two_servers_do_not_share_anything(milvus: LocalMilvus, tmp_path: Path) -> None:
    # Given a server that runs, and another of its kind beside it
    with type(milvus)(tmp_path) as other:
        # When one gets a collection
        fill(milvus, "of_the_first")
        # Then the other has none
        with closing(connect(settings_of(other))) as client:
            assert client.list_collections() == []
        with closing(connect(settings_of(milvus))) as client:
            assert "of_the_first" in client.list_collections()
            client.drop_collection("of_the_first")


def test_lite_listens_on_loopback_alone(milvus_lite: MilvusLite) -> None:
    connections = psutil.Process(milvus_lite.pid).net_connections("tcp")
    listening = {c.laddr.ip.removeprefix("::ffff:") for c in connections if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


@both
def test_a_port_in_use_is_named(server: Server, tmp_path: Path) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(LocalError, match=f"Port {port} .* is in use"),
        server(tmp_path, port=port),
    ):
        pass


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    # Given a file where the data folder should be
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(LocalError, match=r"milvus-lite ended with code 1(.|\n)*data"), MilvusLite(tmp_path):
        pass
