"""Withdrawals: writes them, reads which there are, and waits until every live worker leaves the movies out."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from producer.cluster import Refusal, ends, partitions, unreachable
from producer.history import history
from schemas import kafka
from schemas.errors import MarqueeError
from schemas.releases import ReleasesView
from schemas.settings import Settings
from schemas.withdrawal import Withdrawal, WithdrawalsView, withdrawal_key

_LOOK_SECONDS = 0.3


class NotEverywhereError(MarqueeError):
    """Some live workers have not read a withdrawal within the time given."""


def read_withdrawals(settings: Settings, timeout_s: float) -> Mapping[int, Withdrawal | None]:
    """The movies that are withdrawn now. Raises as `history`."""
    view = WithdrawalsView()
    for message in history(settings, settings.names.withdrawals, timeout_s=timeout_s):
        view.apply(message.key(), message.value())
    return view.movies


def write_withdrawals(
    settings: Settings, movies: Mapping[int, Withdrawal | None], timeout_s: float = 10.0
) -> int:
    """Withdraw movies, or restore those with None; gives the offset after the last, which workers tell of.

    All in-sync replicas have them when this returns.

    Raises:
        UnreachableError: Kafka did not take them within `timeout_s`.
        SettingsError: Kafka refused who we are.
        MarqueeError: the topic does not exist, or refuses a record.
    """
    topic, refusal = settings.names.withdrawals, Refusal()
    errors: list[KafkaError] = []
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        if error is not None:
            errors.append(error)
        elif offset is not None:
            offsets.append(offset)

    producer = Producer(
        kafka.producer(
            settings.kafka,
            {"message.timeout.ms": int(timeout_s * 1_000), "error_cb": refusal, "log_level": 0},
        )
    )
    partitions(producer, settings.kafka, [topic], refusal, timeout_s)
    for movie_id, withdrawal in movies.items():
        value = withdrawal.model_dump_json().encode() if withdrawal else None
        try:
            producer.produce(topic, value, withdrawal_key(movie_id), partition=0, on_delivery=delivered)
        except KafkaException as refusal_at_once:
            errors.append(refusal_at_once.args[0])
    if producer.flush(timeout_s + 1.0) or errors:
        error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT)
        if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT):
            raise unreachable(settings.kafka, refusal, timeout_s, error)
        raise MarqueeError(f"{topic} refused a record ({error.str()}); check the rights on it")
    return max(offsets, default=-1) + 1


def end_of_withdrawals(settings: Settings, timeout_s: float) -> int:
    """The offset after the last record that is there. Raises as `read_withdrawals`, but for a topic that is not there."""
    place = TopicPartition(settings.names.withdrawals, 0)
    return ends(settings.kafka, [place], Refusal(), timeout_s)[0].offset


def wait_for_workers(settings: Settings, offset: int, timeout_s: float) -> list[str]:
    """Look at `releases` until every live worker has read `withdrawals` up to `offset`; gives their names.

    A worker that is killed counts as live for a minute. One that starts reads the topic to its end before it takes
    events, and after it has told of itself: so what is published after this returns never gets a withdrawn movie.

    Raises:
        NotEverywhereError: not within `timeout_s`; names the workers.
        UnreachableError, SettingsError, MarqueeError: as `history`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        view = ReleasesView()
        for message in history(settings, settings.names.releases, timeout_s=timeout_s):
            view.apply(message.key(), message.value())
        behind = workers_behind(view, offset)
        if not behind:
            return sorted(worker.worker for worker in view.live_workers())
        if time.monotonic() >= deadline:
            raise NotEverywhereError(
                f"{', '.join(behind)} had not read the withdrawals within {timeout_s:g} s: they stand, and count there as "
                "soon as they are read; see `marquee status`"
            )
        time.sleep(_LOOK_SECONDS)


def workers_behind(view: ReleasesView, offset: int) -> list[str]:
    """The live workers that have not read `withdrawals` up to `offset`."""
    return sorted(w.worker for w in view.live_workers() if (w.withdrawals or 0) < offset)
