"""Outcomes workers that are killed at random: every pair counts once, and invalid feedback becomes a dead letter.

`MARQUEE_TEST_KILLS=20 python -m pytest tests/integration/test_outcomes.py -k kills` sets the number of kills. Each kill hits the
leader at a random moment: while it reads the last day, counts or commits.
"""

import json
import os
import random
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.training.feedback import deeds
from producer.endings import DeadLetter, EndingReader
from producer.outcomes import added_up, outcomes
from schemas import kafka
from schemas.feedback import ACTIONS, RankOutcomes
from schemas.recommendation import Recommendation, RecommendedMovie, Source
from schemas.release import ACTIVE_KEY, TRIAL_KEY, ActiveRecord, TrialRecord, now
from schemas.settings import Settings
from tests.testbed.processes import Process, marquee, wait_for
from worker.kafka.topics import ensure_topics

KILLS = int(os.environ.get("MARQUEE_TEST_KILLS", "8"))
EVENTS_A_KILL = 400
PARTITIONS = 4
RELEASES = ("20261121T101500-3f9c2a", "20261122T101500-a2c9f3")
BAD = (b"{", b'{"event_id": "e", "movie_id": 1, "action": "ate"}', None)


LEADS = "this outcomes worker leads"

Deed = dict[str, object]


class People:
    """Events, their results and feedback, with the counts that they must add up to."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._names = settings.names
        self._chance = random.Random(seed)
        self._plain = Producer(kafka.producer(settings.kafka))
        config = kafka.transactional_producer(settings.kafka, f"{settings.prefix}people", 10_000)
        self._worker = Producer(config)
        self._worker.init_transactions(30)
        self._offsets = [0] * PARTITIONS
        self.deeds: set[tuple[int, int, float]] = set()  # of events with a user id: user, movie, stars
        self.right: dict[str, dict[str, RankOutcomes]] = {"release": {}, "rank": {}, "segment": {}}

    def live(self, events: int) -> None:
        """Publish events, their results in one transaction, and feedback in a random order."""
        places = [self._ask() for _ in range(events)]
        assert self._plain.flush(30) == 0
        self._worker.begin_transaction()
        deeds = [deed for place in places for deed in self._answer(*place)]
        self._worker.commit_transaction(30)
        self._chance.shuffle(deeds)
        for deed in deeds:
            for _ in range(self._chance.choice((1, 1, 2))):  # feedback that is sent twice counts once
                self._plain.produce(
                    self._names.feedback, json.dumps(deed).encode(), str(deed["event_id"]).encode()
                )
        assert self._plain.flush(30) == 0

    def _ask(self) -> tuple[int, int, str]:
        partition = self._chance.randrange(PARTITIONS)
        gender = self._chance.choice("FM")
        event = json.dumps({"gender": gender, "age": 30}).encode()
        self._plain.produce(self._names.profiles, event, partition=partition)
        offset, self._offsets[partition] = self._offsets[partition], self._offsets[partition] + 1
        return partition, offset, f"{gender} 25-34"

    def _answer(self, partition: int, offset: int, segment: str) -> list[Deed]:
        event_id, release = f"{partition}-{offset}", self._chance.choice(RELEASES)
        movies = self._chance.sample(range(1, 100), 5)
        ranked = [
            RecommendedMovie(rank=rank, movie_id=movie, title="t", genres=[], score=1.0)
            for rank, movie in enumerate(movies, 1)
        ]
        source = Source(topic=self._names.profiles, partition=partition, offset=offset)
        recommendation = Recommendation(
            event_id=event_id,
            user_id=(user := self._chance.choice((None, 1, 2, 3))),
            movies=ranked,
            release=release,
            collection="c",
            retrieval="milvus",
            source=source,
        )
        value = recommendation.model_dump_json().encode()
        self._worker.produce(self._names.recommendations, value, partition=partition)
        deeds: list[Deed] = []
        for rank, movie in enumerate(movies, 1):
            done = {action for action in ACTIONS if self._chance.random() < 0.15}
            deeds += [{"event_id": event_id, "movie_id": movie, "action": action} for action in done]
            if user and {"watched", "liked"} & done:
                self.deeds.add((user, movie, 5.0 if "liked" in done else 4.0))
            for by, name in (("release", release), ("rank", str(rank)), ("segment", segment)):
                total = self.right[by].setdefault(name, RankOutcomes())
                for what in ("recommended", *(done | {"shown"} if done else ())):
                    setattr(total, what, getattr(total, what) + 1)
        return deeds


def counted(settings: Settings) -> dict[str, dict[str, RankOutcomes]]:
    records = list(outcomes(settings, None, 30))
    return {
        "release": added_up(records, lambda record, _: record.release),
        "rank": added_up(records, lambda _, rank: str(rank)),
        "segment": added_up(records, lambda record, _: record.segment),
    }


def leader_of(one: Process, other: Process) -> tuple[Process, Process]:
    """The leader, once there is one, and the other worker. A leader leads until its process ends."""
    wait_for("a leader", lambda: LEADS in one.output or LEADS in other.output)
    return (one, other) if LEADS in one.output else (other, one)


@pytest.mark.timeout(60 + 60 * KILLS)
def test_the_join_loses_and_doubles_nothing_under_kills(kafka_settings: Settings, tmp_path: Path) -> None:
    settings = kafka_settings
    ensure_topics(settings, 30)
    people, chance = People(settings, seed=5), random.Random(6)

    def process() -> Process:
        return Process("outcomes-worker", settings, tmp_path, MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS="6000")

    working, standing_by = process(), process()
    try:
        for _ in range(KILLS):
            working, standing_by = leader_of(working, standing_by)
            death = threading.Timer(chance.uniform(0.0, 3.0), working.kill)
            death.start()
            people.live(EVENTS_A_KILL)
            death.join()
            working, standing_by = standing_by, process()
        people.live(EVENTS_A_KILL)

        wait_for("the counts", lambda: counted(settings) == people.right, 120)
        # A pair that counts twice shows here: counts are written once a second.
        people.live(10)
        wait_for("the last counts", lambda: counted(settings) == people.right, 60)
    finally:
        for one in (working, standing_by):
            print(one.output[-3_000:])
            one.kill()


def test_invalid_feedback_becomes_dead_letters_and_a_canary_is_compared(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    settings = kafka_settings
    ensure_topics(settings, 30)
    producer = Producer(kafka.producer(settings.kafka))
    active = ActiveRecord(release=RELEASES[0], collection="c", epoch=1)
    trial = TrialRecord(kind="canary", release=RELEASES[1], collection="c", share=0.5, epoch=1, since=now())
    producer.produce(settings.names.releases, active.model_dump_json().encode(), ACTIVE_KEY)
    producer.produce(settings.names.releases, trial.model_dump_json().encode(), TRIAL_KEY)
    for value in BAD:
        producer.produce(settings.names.feedback, value, b"key", headers=[("traceparent", b"00-1")])
    assert producer.flush(30) == 0
    people = People(settings, seed=7)
    people.live(200)

    with (
        Process("outcomes-worker", settings, tmp_path) as worker,
        EndingReader(settings, start="beginning") as reader,
    ):
        wait_for("the counts", lambda: counted(settings) == people.right)
        found = [outcome for _ in range(20) for outcome in reader.endings(0.1)]
        letters = [outcome for outcome in found if isinstance(outcome, DeadLetter)]

        assert {letter.value for letter in letters} == set(BAD)
        assert len(letters) == len(BAD)
        assert {letter.topic for letter in letters} == {settings.names.feedback}
        assert {letter.reason for letter in letters} == {"not_json", "invalid", "null_value"}
        wait_for("its metrics", lambda: worker.metric("marquee_outcomes_joined_total"))
        assert worker.metric("marquee_outcomes_dead_letters_total") == len(BAD)
        assert worker.stop() == 0

    learnt = deeds(settings, now() - timedelta(hours=1), now(), 30)
    assert {(deed.user_id, deed.movie_id, deed.stars) for deed in learnt} == people.deeds
    shown = json.loads(marquee(settings, "outcomes", "--by", "rank", "--json").stdout)
    assert [row["rank"] for row in shown["outcomes"]] == [1, 2, 3, 4, 5]
    assert all(
        row["clicked_rate"]["low"] < row["clicked"] / row["shown"] < row["clicked_rate"]["high"]
        for row in shown["outcomes"]
    )
    assert {one["canary"] for one in shown["canary"]} == {RELEASES[1]}
    table = marquee(settings, "outcomes", "--since", "1h")
    assert "Impressions" in table.stdout
    assert "chance" in table.stdout
