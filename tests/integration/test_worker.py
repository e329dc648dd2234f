"""A worker process on real Kafka and real Milvus: every event ends once, whatever is in it and whatever is away."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from ops.local.kafka import LocalKafka
from ops.local.milvus import MilvusLite
from producer.endings import DeadLetter, Ending, EndingReader, Result
from producer.reader import read_to_end
from schemas import kafka as clients
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.kafka import PARTITIONS, retention_takes
from tests.testbed.processes import Process, wait_for
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore


@pytest.fixture
def settings(settings: Settings, fusion_store: str) -> Settings:
    return settings.model_copy(update={"store": fusion_store})


@pytest.fixture
def lite_settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


Sent = dict[tuple[int, int], bytes | None]


def publish(settings: Settings, values: list[bytes | None]) -> Sent:
    """Publish raw values; what went where."""
    sent: Sent = {}

    def delivered(_: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None and offset is not None
        sent[partition, offset] = message.value()

    producer = Producer(clients.producer(settings.kafka))
    for number, value in enumerate(values):
        headers: list[tuple[str, str | bytes | None]] = [("traceparent", str(number))]
        producer.produce(
            settings.names.profiles, value, str(number).encode(), headers=headers, on_delivery=delivered
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert len(sent) == len(values)
    return sent


def everything(settings: Settings, count: int, seconds: float = 60.0) -> list[Ending]:
    """All committed outcomes from the beginning, once there are at least `count`, and a moment longer."""
    outcomes: list[Ending] = []
    with EndingReader(settings, start="beginning") as reader:

        def enough() -> bool:
            outcomes.extend(reader.endings(0.2))
            return len(outcomes) >= count

        wait_for(f"{count} outcomes", enough, seconds)
        for _ in range(5):
            outcomes.extend(reader.endings(0.2))
    return outcomes


def assert_each_once(sent: Sent, outcomes: list[Ending]) -> None:
    assert sorted(outcome.source for outcome in outcomes) == sorted(sent)


def test_every_event_ends_once(settings: Settings, tmp_path: Path) -> None:
    activate(settings)
    bad: list[bytes | None] = [
        b"{", b"[]", None, b'{"age": 300}', b'{"k": 0}', b'{"user_id": 12345678901234567890123}', b"[" * 50_000,
    ]  # fmt: skip
    good: list[bytes | None] = [
        json.dumps({"event_id": f"e{i}", "user_id": i + 1, "age": 27}).encode() for i in range(500)
    ]
    sent = publish(settings, bad + good)

    with Process("worker", settings, tmp_path) as worker:
        outcomes = everything(settings, len(sent))
        worker.wait_ready()

        assert_each_once(sent, outcomes)
        for topic in (settings.names.recommendations, settings.names.dead_letters):
            for message in read_to_end(settings, topic, timeout_s=60):
                assert ("traceparent", message.key()) in (message.headers() or [])  # as it was published
        letters = [outcome for outcome in outcomes if isinstance(outcome, DeadLetter)]
        assert sorted(letter.value or b"" for letter in letters) == sorted(value or b"" for value in bad)
        assert all(len(o.recommendation.movies) == 5 for o in outcomes if isinstance(o, Result))
        assert worker.metric('marquee_events_total{outcome="recommendation"}') == len(good)
        wait_for("lag", lambda: lag(worker) == [0.0] * PARTITIONS)
        assert worker.stop() == 0


def test_lists_are_those_of_exact_search(settings: Settings, tmp_path: Path) -> None:
    active = activate(settings)
    release = ReleaseStore(settings.store).load(active.release)
    movies = release.catalogue.movie_ids.tolist()
    events = [{"user_id": i + 1, "recent": movies[i : i + 40], "k": 1 + i % 100} for i in range(100)]
    events[7] = {"recent": movies[:200], "k": 100}
    publish(settings, [json.dumps(event).encode() for event in events])

    with Process("worker", settings, tmp_path):
        milvus = everything(settings, len(events))
    exact_settings = settings.model_copy(update={"prefix": f"exact-{settings.prefix}"})
    activate(exact_settings)
    publish(exact_settings, [json.dumps(event).encode() for event in events])
    with Process("worker", exact_settings, tmp_path, MARQUEE_WORKER__RETRIEVAL="exact"):
        exact = everything(exact_settings, len(events))

    found, expected = _by_source(milvus), _by_source(exact)
    assert found.keys() == expected.keys()
    # Who has seen most of what Milvus was asked for is searched for again, exactly.
    assert {result.recommendation.retrieval for result in found.values()} == {"milvus", "exact"}
    for source, result in found.items():
        other = expected[source].recommendation
        assert other.retrieval == "exact"
        assert [m.score for m in result.recommendation.movies] == pytest.approx(
            [m.score for m in other.movies], abs=1e-5
        )
        seen = set(json.loads(publish_value(events, result)).get("recent", []))
        assert not seen & {movie.movie_id for movie in result.recommendation.movies}
        assert len(result.recommendation.movies) == min(
            events[int(result.recommendation.user_id or 8) - 1]["k"], len(movies) - len(seen)
        )


def _by_source(outcomes: list[Ending]) -> dict[tuple[int, int], Result]:
    return {outcome.source: outcome for outcome in outcomes if isinstance(outcome, Result)}


def publish_value(events: list[dict[str, object]], result: Result) -> str:
    """The event that a result answers: the user's number says which, and event 7 has none."""
    return json.dumps(events[(result.recommendation.user_id or 8) - 1])


@pytest.mark.paddle
def test_waits_for_an_active_release_and_says_so(lite_settings: Settings, tmp_path: Path) -> None:
    with Process("worker", lite_settings, tmp_path) as worker:
        problem = wait_for("a reason", lambda: worker.readiness().get("problems", {}).get("release"))
        assert "no release is active" in problem
        sent = publish(lite_settings, [b"{}"])

        activate(lite_settings)

        assert_each_once(sent, everything(lite_settings, 1))
        worker.wait_ready()


@contextmanager
def own_milvus(settings: Settings, folders: pytest.TempPathFactory) -> Iterator[tuple[MilvusLite, Settings]]:
    """A server that may be broken, as nobody else uses it, and the settings with it."""
    with MilvusLite(folders.mktemp("own-milvus")) as milvus:
        yield (
            milvus,
            settings.model_copy(update={"milvus": settings.milvus.model_copy(update={"uri": milvus.uri})}),
        )


def lag(worker: Process) -> list[float]:
    """Of each partition that the worker tells of."""
    lines = worker.get("/metrics")[1].splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("marquee_consumer_lag{")]


def test_an_event_lags_until_its_result_is_committed(
    kafka: LocalKafka, lite_settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Given a worker that has an event in hand and cannot search, and then an event with a transaction's mark behind it."""
    with own_milvus(lite_settings, tmp_path_factory) as (milvus, settings):
        activate(settings)
        with Process("worker", settings, tmp_path, MARQUEE_MILVUS__EXACT_AFTER_S="never") as worker:
            worker.wait_ready(120)
            wait_for("partitions that are empty", lambda: lag(worker) == [0.0] * PARTITIONS)
            milvus.kill()
            publish(settings, [b"{}"])
            wait_for("the search", lambda: worker.metric("marquee_search_retries_total") > 0)
            wait_for("the event in hand", lambda: sorted(lag(worker)) == [0.0] * (PARTITIONS - 1) + [1.0])

            milvus.restart()
            wait_for("its commit", lambda: lag(worker) == [0.0] * PARTITIONS, 120)

            producer = Producer(clients.transactional_producer(settings.kafka, "somebody", 10_000))
            producer.init_transactions()
            producer.begin_transaction()
            producer.produce(settings.names.profiles, b"{}", partition=3)
            producer.commit_transaction()
            answered = 'marquee_events_total{outcome="recommendation"}'
            wait_for("its answer", lambda: worker.metric(answered) == 2)
            time.sleep(5)  # two reports of the client later, which know the mark
            assert lag(worker) == [0.0] * PARTITIONS


def test_sigterm_loses_and_doubles_nothing(lite_settings: Settings, tmp_path: Path) -> None:
    activate(lite_settings)
    sent = publish(lite_settings, [json.dumps({"user_id": i + 1}).encode() for i in range(4_000)])

    for _ in range(3):
        with Process("worker", lite_settings, tmp_path, MARQUEE_WORKER__BATCH_EVENTS="50") as worker:
            wait_for("work", lambda: worker.metric('marquee_events_total{outcome="recommendation"}') > 0)
            assert worker.stop(seconds=10) == 0
    with Process("worker", lite_settings, tmp_path):
        outcomes = everything(lite_settings, len(sent), seconds=120)

    assert_each_once(sent, outcomes)


def test_two_workers_share_and_hand_over(lite_settings: Settings, tmp_path: Path) -> None:
    activate(lite_settings)
    with Process(
        "worker", lite_settings, tmp_path, MARQUEE_WORKER__ID="a", MARQUEE_WORKER__BATCH_EVENTS="50"
    ) as first:
        first.wait_ready()
        sent = publish(lite_settings, [json.dumps({"user_id": i + 1}).encode() for i in range(2_000)])
        with Process(
            "worker", lite_settings, tmp_path, MARQUEE_WORKER__ID="b", MARQUEE_WORKER__BATCH_EVENTS="50"
        ) as second:
            wait_for("the second's share", lambda: "assigned 2 partitions" in second.output)
            sent |= publish(lite_settings, [json.dumps({"user_id": i + 1}).encode() for i in range(2_000)])
            wait_for("its work", lambda: second.metric('marquee_events_total{outcome="recommendation"}') > 0)
            assert second.stop() == 0
        outcomes = everything(lite_settings, len(sent), seconds=120)

    assert_each_once(sent, outcomes)


def test_a_dead_letter_too_large_for_its_topic_goes_without_its_value(
    kafka: LocalKafka, lite_settings: Settings, tmp_path: Path
) -> None:
    admin = AdminClient(clients.admin(lite_settings.kafka))
    large = {"max.message.bytes": str(8 * 1024 * 1024)}
    names = lite_settings.names
    for future in admin.create_topics([NewTopic(names.profiles, 2, 1, config=large)]).values():
        future.result()
    activate(lite_settings)
    sent = publish(lite_settings, [b"x" * 5_000_000, b"{}"])

    with Process("worker", lite_settings, tmp_path):
        outcomes = everything(lite_settings, 2)

    assert_each_once(sent, outcomes)
    assert [len(o.value or b"") for o in outcomes if isinstance(o, DeadLetter)] == [5_000_000]


def test_what_no_topic_takes_ends_as_a_dead_letter_without_its_value(
    lite_settings: Settings, tmp_path: Path
) -> None:
    activate(lite_settings)
    names = lite_settings.names
    with Process("worker", lite_settings, tmp_path) as worker:
        worker.wait_ready()
        admin = AdminClient(clients.admin(lite_settings.kafka))
        for topic, size in ((names.dead_letters, "900"), (names.recommendations, "150")):
            entry = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            for future in admin.incremental_alter_configs([resource]).values():
                future.result()
        sent: Sent = {}

        def in_force() -> bool:
            """The broker takes the cluster's settings over in their order, a moment later."""
            sent.update(publish(lite_settings, [b'{"user_id": 2}']))
            return any(isinstance(outcome, DeadLetter) for outcome in everything(lite_settings, len(sent)))

        wait_for("the smaller topics", in_force)
        # Hard to compress: the broker measures what arrives.
        large = publish(
            lite_settings, [json.dumps({"user_id": 1, "noise": os.urandom(2_000).hex()}).encode()]
        )
        outcomes = everything(lite_settings, len(sent) + 1)

    assert_each_once(sent | large, outcomes)
    letters = {outcome.source: outcome for outcome in outcomes if isinstance(outcome, DeadLetter)}
    assert {letter.reason for letter in letters.values()} == {"processing_failed"}
    assert {letter.value for source, letter in letters.items() if source in sent} == {b'{"user_id": 2}'}
    assert [letters[source].value for source in large] == [None]


def test_milvus_away_costs_no_event(
    kafka: LocalKafka, lite_settings: Settings, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with own_milvus(lite_settings, tmp_path_factory) as (milvus, settings):
        activate(settings)
        with Process("worker", settings, tmp_path, MARQUEE_MILVUS__EXACT_AFTER_S="1") as worker:
            first = publish(settings, [b'{"user_id": 1}'])
            assert isinstance(everything(settings, 1)[0], Result)
            milvus.kill()
            sent = publish(settings, [json.dumps({"user_id": i + 1}).encode() for i in range(100)])
            outcomes = everything(settings, 101)
            assert {o.recommendation.retrieval for o in outcomes if isinstance(o, Result)} == {
                "milvus",
                "exact",
            }
            assert "milvus" in worker.readiness()["problems"]

            milvus.restart()
            worker.wait_ready()
            last = publish(settings, [b'{"user_id": 2}'])
            outcomes = everything(settings, 102)

    assert_each_once(first | sent | last, outcomes)
    assert [o.recommendation.retrieval for o in outcomes if isinstance(o, Result) and o.source in last] == [
        "milvus"
    ]


def test_an_offset_that_retention_removed_is_not_skipped_in_silence(
    lite_settings: Settings, tmp_path: Path
) -> None:
    activate(lite_settings)
    publish(lite_settings, [json.dumps({"user_id": i + 1}).encode() for i in range(100)])
    with Process("worker", lite_settings, tmp_path) as worker:
        everything(lite_settings, 100)
        worker.stop()
    sent = publish(lite_settings, [json.dumps({"user_id": i + 1}).encode() for i in range(100)])
    names = lite_settings.names
    retention_takes(
        lite_settings, [TopicPartition(names.profiles, number, -1) for number in range(PARTITIONS)]
    )

    with Process("worker", lite_settings, tmp_path) as worker:
        assert worker.child.wait(60) == 3
        assert "MARQUEE_WORKER__ON_LOST_OFFSET" in worker.output
    with Process("worker", lite_settings, tmp_path, MARQUEE_WORKER__ON_LOST_OFFSET="earliest") as worker:
        wait_for("going on", lambda: worker.metric("marquee_lost_offsets_total") > 0)
        publish(lite_settings, [b"{}"])
        assert len(everything(lite_settings, 101)) == 101
    assert sent


def test_a_group_that_lost_its_offsets_goes_on_after_the_last_answers(
    lite_settings: Settings, tmp_path: Path
) -> None:
    """But where somebody set an offset back, that is obeyed."""
    activate(lite_settings)
    names = lite_settings.names
    events: list[bytes | None]
    events = [b"no profile" if i % 3 == 0 else json.dumps({"user_id": i + 1}).encode() for i in range(300)]
    sent = publish(lite_settings, events)
    with Process("worker", lite_settings, tmp_path) as worker:
        everything(lite_settings, len(sent))
        assert worker.stop() == 0
    admin = AdminClient(clients.admin(lite_settings.kafka))
    admin.delete_consumer_groups([names.worker_group])[names.worker_group].result()
    somebody = Consumer(clients.reader(lite_settings.kafka, names.worker_group))
    somebody.commit(offsets=[TopicPartition(names.profiles, 0, 5)], asynchronous=False)
    somebody.close()
    again = {place: value for place, value in sent.items() if place[0] == 0 and place[1] >= 5}
    sent |= publish(lite_settings, events)

    with Process("worker", lite_settings, tmp_path) as worker:
        outcomes = everything(lite_settings, len(sent) + len(again), seconds=120)
        said = worker.output

    counts = Counter(outcome.source for outcome in outcomes)
    assert counts == Counter([*sent, *again])
    assert again
    assert "offsets were set back on purpose, and events are answered again: partition 0 5," in said
    assert (
        "the group has lost these offsets: going on after the last answered events: partition 1 none," in said
    )


def test_the_setting_of_the_only_delivery_is_accepted_with_a_warning(
    lite_settings: Settings, tmp_path: Path
) -> None:
    with Process("worker", lite_settings, tmp_path, MARQUEE_WORKER__DELIVERY="exactly-once") as worker:
        wait_for("the port", lambda: worker.get("/health/live")[0] == 200)
        assert worker.stop() == 0
        assert "MARQUEE_WORKER__DELIVERY is deprecated" in worker.output


def test_wrong_settings_end_it_with_one_sentence(kafka_settings: Settings, tmp_path: Path) -> None:
    with Process("worker", kafka_settings, tmp_path, MARQUEE_WORKER__BATCH_EVENTS="many") as worker:
        assert worker.child.wait(30) == 2
        assert "MARQUEE_WORKER__BATCH_EVENTS" in worker.output
        assert "Traceback" not in worker.output


def test_a_port_in_use_ends_it_with_one_sentence(lite_settings: Settings, tmp_path: Path) -> None:
    ensure_topics(lite_settings, 30)
    with Process("worker", lite_settings, tmp_path) as first:
        wait_for("the port", lambda: first.get("/health/live")[0] == 200)
        with Process("worker", lite_settings, tmp_path, MARQUEE_HTTP__PORT=str(first.port)) as second:
            assert second.child.wait(30) == 2
            assert str(first.port) in second.output
            assert "Traceback" not in second.output
