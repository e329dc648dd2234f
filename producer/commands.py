"""Release commands: sends one to the indexer, and waits for what becomes of it by following `releases`."""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producer.cluster import Refusal, partitions, unreachable
from producer.recommendations import Reader
from schemas import kafka
from schemas.errors import MarqueeError
from schemas.release import CommandOutcome, ReleaseCommand, ReleaseRecord
from schemas.releases import ReleasesView
from schemas.settings import Settings

_POLL_SECONDS = 0.2

Progress = Callable[[ReleaseRecord], None]


class NoOutcomeError(MarqueeError):
    """Nothing became of a command within the time given."""


def send_command(settings: Settings, command: ReleaseCommand, timeout_s: float = 10.0) -> None:
    """Send a command; all in-sync replicas have it when this returns.

    Raises:
        UnreachableError: Kafka did not take it within `timeout_s`.
        SettingsError: Kafka refused who we are.
        MarqueeError: the topic does not exist, or refuses the command.
    """
    topic, refusal = settings.names.release_commands, Refusal()
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            errors.append(error)

    producer = Producer(
        kafka.producer(
            settings.kafka,
            {"message.timeout.ms": int(timeout_s * 1_000), "error_cb": refusal, "log_level": 0},
        )
    )
    partitions(producer, settings.kafka, [topic], refusal, timeout_s)
    try:
        producer.produce(
            topic, command.model_dump_json(), command.release, partition=0, on_delivery=delivered
        )
    except KafkaException as refusal_at_once:
        errors.append(refusal_at_once.args[0])
    if producer.flush(timeout_s + 1.0) or errors:
        error = errors[0] if errors else KafkaError(KafkaError._TIMED_OUT)
        if error.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT):
            raise unreachable(settings.kafka, refusal, timeout_s, error)
        raise MarqueeError(f"{topic} refused the command ({error.str()}); check the rights on it")


def wait_for_outcome(
    settings: Settings,
    command: ReleaseCommand,
    timeout_s: float,
    progress: Progress | None = None,
    connect_timeout_s: float = 10.0,
) -> CommandOutcome:
    """Follow `releases` until the command's outcome is in it.

    `progress` is called with the record of the release that the command is about, each time it changes.

    Raises:
        NoOutcomeError: there is none within `timeout_s`.
        UnreachableError, SettingsError, MarqueeError: as `send_command`.
    """
    view, under_way = ReleasesView(), None
    deadline = time.monotonic() + timeout_s
    with Reader(
        settings, [settings.names.releases], start="beginning", timeout_s=connect_timeout_s
    ) as reader:
        while time.monotonic() < deadline:
            for message in reader.poll(_POLL_SECONDS):
                change = view.apply(message.key(), message.value())
                if change is None or not isinstance(change.record, ReleaseRecord):
                    continue
                if change.record.command_id == command.command_id:
                    under_way = change.record
                    if progress:
                        progress(change.record)
                if found := view.outcome(command.command_id):
                    return found[1]
    if under_way:
        raise NoOutcomeError(
            f"the command is still being carried out after {timeout_s:g} s ({under_way.release} is {under_way.state.value}, "
            f"{under_way.progress:.0%} indexed) and goes on: follow it with `marquee releases`, or wait longer (--timeout)"
        )
    raise NoOutcomeError(
        f"nothing became of the command within {timeout_s:g} s; see whether `marquee indexer` runs and is ready "
        f"(/health/ready), and look again with `marquee status`"
    )
