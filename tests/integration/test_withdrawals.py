"""A withdrawn movie is recommended to nobody: from Milvus, the cache or the exact copy, after a swap, a rollback and
a restart."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from producer.endings import EndingReader, Result
from producer.profiles import publish_one
from producer.withdrawals import read_withdrawals, write_withdrawals
from schemas import kafka
from schemas.profile import ProfileEvent
from schemas.release import ACTIVE_KEY, ActiveRecord
from schemas.settings import Settings
from schemas.withdrawal import Withdrawal
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, marquee
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore

SECONDS = 60.0


@pytest.fixture
def settings(lite_settings: Settings, fusion_store: str) -> Settings:
    return lite_settings.model_copy(update={"store": fusion_store})


@pytest.fixture
def reader(settings: Settings) -> Iterator[EndingReader]:
    ensure_topics(settings, 30)
    with EndingReader(settings) as reader:
        yield reader


def ask(settings: Settings, reader: EndingReader, **profile: object) -> Result:
    sent = publish_one(settings, ProfileEvent(**profile), timeout_s=SECONDS)  # type: ignore[arg-type]
    outcome = reader.ending_of(sent.partition, sent.offset, SECONDS)
    assert isinstance(outcome, Result)
    return outcome


def movies(result: Result) -> list[int]:
    return [movie.movie_id for movie in result.recommendation.movies]


def serve(settings: Settings, active: ActiveRecord) -> None:
    """Publish a release with an existing collection as active, as a rollback does."""
    producer = Producer(kafka.producer(settings.kafka))
    producer.produce(settings.names.releases, active.model_dump_json().encode(), ACTIVE_KEY)
    assert producer.flush(30) == 0


def test_a_withdrawn_movie_is_never_recommended(
    settings: Settings, reader: EndingReader, tmp_path: Path
) -> None:
    first = activate(settings)

    def with_(collection: str, **profile: object) -> list[int]:
        """Wait until the workers serve from a collection, and return their list."""
        while (answer := ask(settings, reader, **profile)).recommendation.collection != collection:
            time.sleep(0.05)
        return movies(answer)

    with Process("worker", settings, tmp_path, MARQUEE_WORKER__ID="w") as worker:
        worker.wait_ready()
        before = movies(ask(settings, reader, gender="F", k=8))
        gone, left = before[:2], before[2:]

        done = marquee(settings, "withdraw", *map(str, gone), "--wait")

        assert (done.returncode, done.stdout) == (0, "withdrawn: 2; read by w\n")
        assert movies(ask(settings, reader, gender="F", k=8))[:6] == left
        # Every movie but two, which no search with a limit gives at once.
        assert not set(gone) & set(movies(ask(settings, reader, gender="F", recent=left, k=100)))
        # After a swap, with a cache of its own, and after a rollback to the one whose cache has lists from before.
        swapped = activate(settings, epoch=2)
        assert with_(swapped.collection, gender="F", k=8)[:6] == left
        serve(settings, first.model_copy(update={"epoch": 3}))
        assert with_(first.collection, gender="F", k=8)[:6] == left
    with Process("worker", settings, tmp_path, MARQUEE_WORKER__ID="w", MARQUEE_WORKER__RETRIEVAL="exact"):
        answer = ask(settings, reader, gender="F", k=8)
        assert answer.recommendation.retrieval == "exact"
        assert movies(answer)[:6] == left

        restored = marquee(settings, "restore", str(gone[0]), "--wait", "--json")
        assert json.loads(restored.stdout) == {"restored": gone[:1], "before": [], "read_by": ["w"]}

        assert movies(ask(settings, reader, gender="F", k=8))[:7] == [gone[0], *left]


def test_unknown_ids_change_nothing(settings: Settings) -> None:
    activate(settings)
    known = (
        ReleaseStore(settings.store).catalogue(ReleaseStore(settings.store).names()[-1]).movie_ids.tolist()
    )

    unknown = marquee(settings, "withdraw", str(known[0]), "999999999")
    not_withdrawn = marquee(settings, "restore", str(known[0]))

    assert (unknown.returncode, not_withdrawn.returncode) == (1, 1)
    assert "has no movie 999999999" in unknown.stderr
    assert f"{known[0]} is not withdrawn" in not_withdrawn.stderr
    assert read_withdrawals(settings, SECONDS) == {}

    assert marquee(settings, "withdraw", str(known[0]), "999999999", "--force").returncode == 0
    listed = json.loads(marquee(settings, "withdrawals", "--json").stdout)

    assert [movie["movie_id"] for movie in listed] == [known[0], 999999999]


def test_an_unreadable_record_withdraws_too(kafka_settings: Settings) -> None:
    """A movie too few harms less than one too many."""
    ensure_topics(kafka_settings, 30)
    write_withdrawals(kafka_settings, {1: Withdrawal(), 2: Withdrawal(), 3: Withdrawal()})
    producer = Producer(kafka.producer(kafka_settings.kafka))
    for key, value in ((b"2", b"{"), (b"no id", b"{}"), (b"3", None), (b"0", b"{}")):
        producer.produce(kafka_settings.names.withdrawals, value, key, partition=0)
    assert producer.flush(30) == 0

    found = read_withdrawals(kafka_settings, SECONDS)

    assert found.keys() == {1, 2}
    assert found[2] is None


def test_movies_like_others_are_near_them_and_not_withdrawn(settings: Settings) -> None:
    active = activate(settings)
    catalogue = ReleaseStore(settings.store).catalogue(active.release)
    one, another = catalogue.movie_ids[:2].tolist()

    def like(*movie_ids: int) -> list[int]:
        done = marquee(settings, "recommend", "--like", ",".join(map(str, movie_ids)), "-k", "3", "--json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["release"] == active.release
        return [movie["movie_id"] for movie in shown["movies"]]

    near = like(one, another)
    assert len(near) == 3
    assert not {one, another} & set(near)
    write_withdrawals(settings, {near[0]: Withdrawal()})
    assert like(one, another)[:2] == near[1:]

    unknown = marquee(settings, "recommend", "--like", "999999999")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "has no movie 999999999" in unknown.stderr
    assert marquee(settings, "recommend", "--like", str(one), "-a", "0").returncode == 2
