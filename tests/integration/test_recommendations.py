"""Endings read from real Kafka: only committed ones, from the requested point, each with its event."""

import pytest
from confluent_kafka import Producer

from ops.traffic.follow import TimedEndings
from producer.endings import DeadLetter, Ending, EndingReader, NoEndingError, Result
from producer.profiles import publish_one
from schemas import kafka
from schemas.errors import MarqueeError
from schemas.settings import Settings
from tests.integration.stub_worker import StubWorker
from worker.kafka.topics import ensure_topics

WAIT_SECONDS = 30.0
NOTHING_SECONDS = 1.0  # how long a test looks for what must not come


@pytest.fixture
def deployment(kafka_settings: Settings) -> Settings:
    ensure_topics(kafka_settings, 60)
    return kafka_settings


@pytest.fixture
def worker(deployment: Settings) -> StubWorker:
    return StubWorker(deployment)


def read(reader: EndingReader | TimedEndings, count: int) -> list[tuple[int, int]]:
    sources: list[tuple[int, int]] = []
    while len(sources) < count and (outcomes := reader.endings(WAIT_SECONDS)):
        sources += [outcome.source for outcome in outcomes]
    return sources


def test_a_reader_from_the_end_reads_later_records(deployment: Settings, worker: StubWorker) -> None:
    worker.answer((0, 1), (3, 1))
    with EndingReader(deployment) as reader:
        worker.answer((0, 2), (3, 2))
        assert sorted(read(reader, 2)) == [(0, 2), (3, 2)]
        assert reader.endings(NOTHING_SECONDS) == []


def test_a_reader_from_the_beginning_sees_all_in_the_order_of_each_partition(
    deployment: Settings, worker: StubWorker
) -> None:
    worker.answer((0, 1), (3, 1))
    worker.answer((3, 2), (0, 2))
    with EndingReader(deployment, start="beginning") as reader:
        sources = read(reader, 4)
    assert [source for source in sources if source[0] == 0] == [(0, 1), (0, 2)]
    assert [source for source in sources if source[0] == 3] == [(3, 1), (3, 2)]


def test_aborted_records_are_never_read(deployment: Settings, worker: StubWorker) -> None:
    with EndingReader(deployment) as reader:
        worker.answer((3, 1), commit=False)
        worker.answer((3, 2))
        assert read(reader, 1) == [(3, 2)]
        assert reader.endings(NOTHING_SECONDS) == []


def test_the_answer_is_that_of_the_place_not_of_the_id(deployment: Settings, worker: StubWorker) -> None:
    with EndingReader(deployment) as reader:
        first = publish_one(deployment, {"event_id": "twice"})
        second = publish_one(deployment, {"event_id": "twice"})
        assert first.partition == second.partition
        worker.answer((first.partition, first.offset), event_id="twice")
        worker.answer((second.partition, second.offset), event_id="twice")
        outcome = reader.ending_of(second.partition, second.offset, WAIT_SECONDS)
    assert isinstance(outcome, Result)
    assert outcome.source == (second.partition, second.offset)
    assert outcome.recommendation.movies[0].title == "Yojimbo (1961)"


def test_a_dead_letter_is_an_outcome_with_its_reason(deployment: Settings, worker: StubWorker) -> None:
    with EndingReader(deployment) as reader:
        sent = publish_one(deployment, b"{")
        worker.reject(sent.partition, sent.offset, reason="not_json", error="not JSON: it ends too early")
        outcome = reader.ending_of(sent.partition, sent.offset, WAIT_SECONDS)
    assert isinstance(outcome, DeadLetter)
    assert (outcome.reason, outcome.error) == ("not_json", "not JSON: it ends too early")
    assert outcome.value == b"{"


def test_the_error_without_a_result_names_the_place(deployment: Settings) -> None:
    with EndingReader(deployment) as reader, pytest.raises(NoEndingError, match=r"profiles-3-17 .* 0\.3 s"):
        reader.ending_of(3, 17, 0.3)


def test_a_record_that_is_no_recommendation_is_named_and_skipped(
    deployment: Settings, worker: StubWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """A profile on the wrong topic, as from a producer with a mistyped topic."""
    names = deployment.names
    with EndingReader(deployment) as reader:
        producer = Producer(kafka.producer(deployment.kafka))
        producer.produce(names.recommendations, b'{"user_id": 7}', partition=2)
        assert producer.flush(WAIT_SECONDS) == 0
        worker.answer((2, 1))
        found: list[Ending] = []
        while not found:
            found += reader.endings(WAIT_SECONDS)
    assert [outcome.source for outcome in found] == [(2, 1)]
    assert f"{names.recommendations}-2-0 is no recommendation" in caplog.text


def test_a_latency_is_from_the_events_timestamp_to_the_outcomes(
    deployment: Settings, worker: StubWorker
) -> None:
    with TimedEndings(deployment, start="end", timeout_s=WAIT_SECONDS) as reader:
        sent = publish_one(deployment, {"user_id": 7})
        worker.answer((sent.partition, sent.offset), (3, 999))
        outcomes: list[Ending] = []
        # Events and answers come from partitions of their own, in any order between them.
        while len(outcomes) < 2 or all(reader.latency_ms(each) is None for each in outcomes):
            outcomes += reader.endings(0.1)
        latencies = {each.source: reader.latency_ms(each) for each in outcomes}
    answered = next(each for each in outcomes if each.source == (sent.partition, sent.offset))
    assert latencies == {answered.source: answered.timestamp_ms - sent.timestamp_ms, (3, 999): None}


def test_a_missing_topic_is_named(kafka_settings: Settings) -> None:
    with pytest.raises(MarqueeError, match=r"has no topic .*recommendations"):
        EndingReader(kafka_settings)
