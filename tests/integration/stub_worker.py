"""Outcomes as a worker would commit them, for tests of those who read them."""

from collections.abc import Sequence

from confluent_kafka import Producer

from schemas import dead_letter, kafka
from schemas.recommendation import Recommendation, RecommendedMovie, Source
from schemas.settings import Settings


class StubWorker:
    """Writes outcomes in transactions; the caller says which events they are of, and whether to commit."""

    def __init__(self, settings: Settings) -> None:
        self._names = settings.names
        transactional_id = settings.names.worker_transactional_id("stub")
        self._producer = Producer(kafka.transactional_producer(settings.kafka, transactional_id, 10_000))
        self._producer.init_transactions(30)

    def answer(self, *places: tuple[int, int], event_id: str = "a", commit: bool = True) -> None:
        """One transaction of recommendations for events at (partition, offset)."""
        self._producer.begin_transaction()
        for partition, offset in places:
            answer = a_recommendation(self._names.profiles, event_id, partition, offset)
            value = answer.model_dump_json().encode()
            self._producer.produce(self._names.recommendations, value, partition=partition)
        self._end(commit)

    def reject(
        self,
        partition: int,
        offset: int,
        *,
        reason: str,
        error: str,
        key: bytes | None = None,
        value: bytes | None = b"{",
        headers: Sequence[tuple[str, str | bytes | None]] = (),
        release: str = "20261121T101500-3f9c2a",
    ) -> None:
        """One transaction with one dead letter."""
        self._producer.begin_transaction()
        said: list[tuple[str, str | bytes | None]] = [
            *headers,
            (dead_letter.REASON, reason),
            (dead_letter.ERROR, error),
            (dead_letter.SOURCE, f"{self._names.profiles}-{partition}-{offset}"),
            (dead_letter.FAILED_AT, "2026-11-21T10:15:00Z"),
            (dead_letter.RELEASE, release),
        ]
        self._producer.produce(self._names.dead_letters, value, key, partition=partition, headers=said)
        self._end(True)

    def _end(self, commit: bool) -> None:
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.flush(30)  # the records are on the broker, and still never to be seen
            self._producer.abort_transaction(30)


def a_recommendation(topic: str, event_id: str, partition: int, offset: int) -> Recommendation:
    """The answer to the event at that place."""
    movie = RecommendedMovie(rank=1, movie_id=3030, title="Yojimbo (1961)", genres=["Drama"], score=2.944)
    return Recommendation(
        event_id=event_id,
        user_id=None,
        movies=[movie],
        release="20261121T101500-3f9c2a",
        collection="collection",
        retrieval="milvus",
        source=Source(topic=topic, partition=partition, offset=offset),
    )
