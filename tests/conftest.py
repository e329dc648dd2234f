"""Real servers for every test that wants them, started once a session, and settings of its own for each test."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from ops.local.kafka import LocalKafka
from ops.local.milvus import LocalMilvus, MilvusLite, MilvusStandalone
from schemas.settings import Settings, load_settings
from tests.testbed.kafka import CLIENT, PARTITIONS
from tests.testbed.releases import fusion_store, generated_data, sequence_store, two_releases

__all__ = ["fusion_store", "generated_data", "sequence_store", "two_releases"]

# Kafka's nodes live for minutes here: optimising compilers and parallel collectors cost more than they save.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
# In the background of a shell SIGINT is ignored, also by children, and some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine must not fail a test.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One node of Apache Kafka."""
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLite]:
    with MilvusLite(tmp_path_factory.mktemp("milvus-lite")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStandalone]:
    with MilvusStandalone(tmp_path_factory.mktemp("milvus-standalone")) as server:
        yield server


@pytest.fixture(scope="session", params=["lite", "standalone"])
def milvus(request: pytest.FixtureRequest) -> LocalMilvus:
    """Both servers, one after the other: a test that asks for this (or for `settings`) runs on each."""
    server: LocalMilvus = request.getfixturevalue(f"milvus_{request.param}")
    return server


@pytest.fixture
def settings(kafka: LocalKafka, milvus: LocalMilvus, tmp_path: Path) -> Settings:
    """Kafka and both Milvus servers in turn, a prefix and a store of the test's own."""
    return _settings(kafka, milvus.uri, tmp_path)


@pytest.fixture
def lite_settings(kafka: LocalKafka, milvus_lite: MilvusLite, tmp_path: Path) -> Settings:
    """As `settings`, with Milvus Lite alone, for tests that do not depend on the server."""
    return _settings(kafka, milvus_lite.uri, tmp_path)


@pytest.fixture
def kafka_settings(kafka: LocalKafka, tmp_path: Path) -> Settings:
    """As `settings`, for tests without Milvus: no server listens at its address."""
    return _settings(kafka, "http://127.0.0.1:9", tmp_path)


def _settings(kafka: LocalKafka, milvus_uri: str, tmp_path: Path) -> Settings:
    return load_settings(
        prefix=f"test-{uuid.uuid4().hex[:8]}.",
        store=str(tmp_path / "store"),
        kafka={"bootstrap_servers": kafka.bootstrap_servers, "partitions": PARTITIONS, "client": CLIENT},
        milvus={"uri": milvus_uri},
        http={"port": 0},
    )
