"""Releases compared, and past events answered again: from the command line, on a real Kafka."""

import json
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported

from ops.offline.replay import refuse_own
from schemas import kafka as clients
from schemas.errors import MarqueeError
from schemas.settings import Settings
from tests.testbed.kafka import retention_takes
from tests.testbed.processes import marquee
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore

EVENTS = 60

pytestmark = pytest.mark.timeout(600)  # the first test may have a broker to start and releases to train


@pytest.fixture
def settings(kafka_settings: Settings, two_releases: Path) -> Settings:
    """Topics with some events and a dead letter among them, and a store with two releases; no Milvus, no worker."""
    settings = kafka_settings.model_copy(update={"store": str(two_releases)})
    ensure_topics(settings, 60)
    producer = Producer(clients.producer(settings.kafka))
    for number in range(EVENTS):
        event = (
            b"{" if number == 7 else json.dumps({"user_id": number + 1, "event_id": f"e{number}"}).encode()
        )
        producer.produce(settings.names.profiles, event, str(number).encode(), partition=number % 3)
    assert producer.flush(60) == 0
    return settings


def replayed(settings: Settings, out: str, *arguments: str) -> dict[str, int]:
    release = ReleaseStore(settings.store).names()[0]
    done = marquee(settings, "replay", "--release", release, "--out", out, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    said: dict[str, int] = json.loads(done.stdout)
    return said


def test_two_replays_give_the_same_bytes(settings: Settings, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for file in (first, second):
        replayed(settings, str(file), "--batch", "16")
    assert first.read_bytes() == second.read_bytes()

    results = [json.loads(line) for line in first.read_text().splitlines()]
    sources = [(each["source"]["partition"], each["source"]["offset"]) for each in results]
    assert sources == [(partition, offset) for partition in range(3) for offset in range(EVENTS // 3)]
    assert sum("dead_letter" in each for each in results) == 1
    assert {each["release"] for each in results if "release" in each} == {
        ReleaseStore(settings.store).names()[0]
    }


def test_a_range_of_offsets_of_one_partition(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "some.jsonl"
    replayed(settings, str(out), "--from", "5", "--to", "9", "--partition", "2")
    offsets = [json.loads(line)["source"]["offset"] for line in out.read_text().splitlines()]
    assert offsets == [5, 6, 7, 8]


def test_a_range_of_time(settings: Settings, tmp_path: Path) -> None:
    out = str(tmp_path / "some.jsonl")
    assert replayed(settings, out, "--from", "1h")["events"] == EVENTS
    assert replayed(settings, out, "--to", "1h")["events"] == 0
    assert replayed(settings, out, "--from", "2000-01-01T00:00:00", "--to", "1h")["events"] == 0


def test_offsets_that_are_not_kept_any_more_are_told(settings: Settings, tmp_path: Path) -> None:
    retention_takes(settings, [TopicPartition(settings.names.profiles, 0, 7)])

    done = replayed(settings, str(tmp_path / "some.jsonl"), "--from", "4")

    assert (done["gone"], done["events"]) == (3, EVENTS - 4 - 3 - 2 * 4)


def test_a_replay_goes_into_a_topic_of_another_name_only(settings: Settings) -> None:
    for own in settings.names.topics:
        with pytest.raises(MarqueeError, match="is a topic of this deployment"):
            refuse_own(settings.names, own)
    refused = marquee(settings, "replay", "--release", "any", "--out", settings.names.recommendations)
    assert (refused.returncode, "is a topic of this deployment" in refused.stderr) == (1, True)
    topic = f"{settings.prefix}of-mine"
    admin = AdminClient(clients.admin(settings.kafka))
    for future in admin.create_topics([NewTopic(topic, 3, 1)]).values():
        future.result(60)
    replayed(settings, topic)
    consumer = Consumer(clients.reader(settings.kafka, f"{settings.prefix}test"))
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(3)])
    found = consumer.consume(EVENTS, 60)
    consumer.close()
    assert sorted(int(message.key() or b"") for message in found) == list(range(EVENTS))
    assert all(int(message.key() or b"") % 3 == message.partition() for message in found)


def test_releases_are_compared(settings: Settings, tmp_path: Path) -> None:
    first, second = ReleaseStore(settings.store).names()
    same = json.loads(marquee(settings, "diff", first, first, "--count", "100", "--json").stdout)
    assert (same["overlap_at_5"], same["rank_shift"], same["score_shift"], same["unchanged"]) == (1, 0, 0, 1)
    other = json.loads(marquee(settings, "diff", first, second, "--count", "100", "--json").stdout)
    assert other["profiles"] == 100
    assert 0 < other["overlap_at_5"] < 1
    assert all(0 < share <= 1 for share in other["coverage"])
    overlaps = [changed["overlap"] for changed in other["most_changed"]]
    assert overlaps == sorted(overlaps)
    assert second in marquee(settings, "diff", first, second, "--count", "20").stdout
    profiles = tmp_path / "profiles.jsonl"
    profiles.write_text('{"user_id": 1, "recent": []}\n{"age": "old"}\n\n{"gender": "F"}\n')
    own = json.loads(marquee(settings, "diff", first, second, "--profiles", str(profiles), "--json").stdout)
    assert (own["profiles"], own["unreadable"]) == (2, 1)
    assert {json.dumps(each["profile"]) for each in own["most_changed"]} == {
        '{"user_id": 1, "recent": []}',
        '{"gender": "F"}',
    }
    unknown = marquee(settings, "diff", first, "20200101T000000-000000")
    assert (unknown.returncode, "is not in the store" in unknown.stderr) == (1, True)
