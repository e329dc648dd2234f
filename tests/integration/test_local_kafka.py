"""Local Kafka: acknowledged records survive kill -9, three nodes replicate, and a failed start names its cause."""

import socket
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ops.local.cache import cache_folder
from ops.local.java import AOT_CACHE, aot_cache_name, java_command, kafka_jars
from ops.local.kafka import LocalKafka
from ops.local.ports import free_port
from ops.local.process import ChildProcess, LocalError
from tests.testbed.aot_cache import ensure_aot_cache

TOPIC = "events"


def create_topic(server: LocalKafka) -> None:
    client = AdminClient({"bootstrap.servers": server.bootstrap_servers})
    for future in client.create_topics([NewTopic(TOPIC, num_partitions=1)]).values():
        future.result()


def produce(server: LocalKafka, values: Sequence[str], timeout_ms: int = 60_000) -> list[KafkaError | None]:
    """What became of each record, as the in-sync replicas acknowledged it."""
    outcomes: list[KafkaError | None] = []

    def note(error: KafkaError | None, _: Message) -> None:
        outcomes.append(error)

    producer = Producer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "enable.idempotence": True,
            "message.timeout.ms": timeout_ms,
            "log_level": 0,
        }
    )
    for value in values:
        producer.produce(TOPIC, value.encode(), on_delivery=note)
    producer.flush()
    return outcomes


def consume(server: LocalKafka, count: int) -> list[str]:
    consumer = Consumer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.subscribe([TOPIC])
    values: list[str] = []
    while len(values) < count:
        for message in consumer.consume(count, 1.0):
            value = message.value()
            if message.error() is None and value is not None:
                values.append(value.decode())
    consumer.close()
    return values


def test_records_outlive_kill_9(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as server:
        # Given an acknowledged record
        address, pids = server.bootstrap_servers, server.pids
        create_topic(server)
        assert produce(server, ["before"]) == [None]
        # When the node is killed and started again
        server.kill()
        assert server.pids == {}
        server.restart()
        # Then it is another process at the same address, takes records, and has the old one
        assert server.bootstrap_servers == address
        assert server.pids != pids
        assert produce(server, ["after"]) == [None]
        assert consume(server, 2) == ["before", "after"]
    # And a new object for the same folder, as the next session has, is the same cluster
    with LocalKafka(tmp_path) as again:
        assert again.bootstrap_servers == address
        assert consume(again, 2) == ["before", "after"]


def test_three_nodes_keep_acknowledged_records(tmp_path: Path) -> None:
    with LocalKafka(tmp_path, nodes=3) as server:
        # Given a replicated topic
        create_topic(server)
        assert produce(server, ["three"]) == [None]
        # When one of three nodes is gone, then records are still taken
        server.kill(2)
        assert produce(server, ["two"]) == [None]
        # When two are gone, then none is acknowledged
        server.kill(3)
        (outcome,) = produce(server, ["one"], timeout_ms=4_000)
        assert outcome is not None
        # When they are back, then the acknowledged ones are there and new ones are taken
        server.start()
        assert set(server.pids) == {1, 2, 3}
        assert produce(server, ["again"]) == [None]
        read = consume(server, 3)
        assert [value for value in read if value != "one"][:2] == ["three", "two"]


def test_java_starts_with_the_cache(kafka: LocalKafka) -> None:
    cache = cache_folder() / aot_cache_name() / AOT_CACHE
    maps = Path(f"/proc/{kafka.pids[1]}/maps").read_text(encoding="utf-8")
    assert str(cache) in maps


def test_a_cache_that_cannot_be_made_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a cache folder without one, and a Java that is over at once
    jars = kafka_jars()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("ops.local.java.kafka_jars", lambda: jars)
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-XX:+NoSuchOption")
    # When the cache is made, then a warning is logged, no file remains, and the command does without
    ensure_aot_cache()
    assert "Kafka will start more slowly" in caplog.text
    assert "NoSuchOption" in caplog.text
    assert [path.name for path in (tmp_path / "marquee").iterdir()] == [f"{aot_cache_name()}.lock"]
    assert not [option for option in java_command(512) if option.startswith("-XX:AOT")]


def test_it_listens_on_loopback_alone(kafka: LocalKafka) -> None:
    connections = psutil.Process(kafka.pids[1]).net_connections("tcp")
    listening = [c.laddr for c in connections if c.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == {kafka.nodes[0].port, kafka.nodes[0].controller_port}


def test_topics_are_not_created_by_accident(kafka: LocalKafka) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    assert client.list_topics("misspelt", timeout=30).topics["misspelt"].error is not None
    assert "misspelt" not in client.list_topics(timeout=30).topics


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(LocalError, match=f"Port {port} .* is in use"),
        LocalKafka(tmp_path, port=port),
    ):
        pass


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with (
        pytest.raises(LocalError, match=r"code 1(.|\n)*num\.network\.threads"),
        LocalKafka(tmp_path, properties={"num.network.threads": "many"}),
    ):
        pass


def test_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    LocalKafka(tmp_path, nodes=3)
    with pytest.raises(LocalError, match="contains a Kafka cluster of 3"):
        LocalKafka(tmp_path, nodes=1)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("[]")
    with pytest.raises(LocalError, match="does not contain the identity of a Kafka cluster"):
        LocalKafka(tmp_path)


def test_jars_that_cannot_be_fetched_are_named_and_leave_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given an empty cache, and no way out
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    # When the jars are wanted
    with pytest.raises(LocalError, match="could not be fetched from Maven Central"):
        kafka_jars()
    # Then the error names the attempt, and the next attempt starts from nothing
    assert "Fetching Apache Kafka" in capsys.readouterr().err
    assert [path.suffix for path in cache_folder().iterdir()] == [".lock"]


def test_an_interrupt_during_the_formatting_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given Ctrl-C as soon as the formatting is waited for
    tools: list[ChildProcess] = []

    def interrupted(tool: ChildProcess, _: float) -> None:
        tools.append(tool)
        raise KeyboardInterrupt

    monkeypatch.setattr(ChildProcess, "finish", interrupted)
    # When a new folder is started
    with pytest.raises(KeyboardInterrupt):
        LocalKafka(tmp_path / "new").start()
    # Then no process formats it
    assert [tool.running for tool in tools] == [False]


def test_it_keeps_its_data_in_a_folder_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    folder = tmp_path / "żółw" / "a,b = c"
    with LocalKafka(folder, heap_mb=256) as kafka:
        client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        client.create_topics([NewTopic("t", 1)])["t"].result(30)
    assert (folder / "node-1" / "data" / "t-0").is_dir()
    assert [entry.name for entry in tmp_path.iterdir()] == ["żółw"]
    assert [entry.name for entry in (tmp_path / "żółw").iterdir()] == ["a,b = c"]
