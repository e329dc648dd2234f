"""Ways to break the worker that are no settings: the saboteur calls one of these before the worker starts."""

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition

import worker.kafka.producer
import worker.stream.loop
import worker.stream.offsets
import worker.stream.polling
import worker.stream.publisher
from worker.events import Event, positions_after
from worker.stream.session import Change

Publisher: Any = worker.stream.publisher.Publisher
Transaction: Any = worker.kafka.producer.Transaction
Polling: Any = worker.stream.polling.Polling
Positions: Any = worker.stream.offsets.Positions
Stream: Any = worker.stream.loop.Stream


def metadata_of_a_stranger() -> None:
    """Offsets go under the metadata of a consumer that never joined the group, so the group fences nobody."""

    def note_member(itself: Any, **_: bool) -> None:
        if itself._group is None:
            group = itself._config["transactional.id"].rpartition(".")[0]
            servers = itself._config["bootstrap.servers"]
            stranger = Consumer({"bootstrap.servers": servers, "group.id": group})
            itself._group = stranger.consumer_group_metadata()
            stranger.close()

    Publisher.note_member = note_member


def positions_from_memory() -> None:
    """After an unknown outcome, go on from where the consumer stands instead of asking the brokers."""

    def rewind(itself: Any) -> None:
        itself._polling.taken.clear()
        if itself._pipeline.drain(5.0):
            itself._session.apply(Change.DRAINED)  # and none of its orders but two
            itself._partitions.resume()
            itself._session.epoch.begin()

    Stream._rewind = rewind


def results_before_offsets() -> None:
    """Commit the records first, and the offsets in a transaction after them: at least once."""
    produce = Transaction.produce

    def produce_and_commit(itself: Any, records: Iterable[Any]) -> None:
        produce(itself, records)
        itself.commit()
        itself.begin()

    Transaction.produce = produce_and_commit


def offsets_before_the_work() -> None:
    """Commit the offsets of events as soon as they are polled, and none with the results."""
    take = Polling.take

    def take_and_commit(itself: Any, events: list[Event]) -> None:
        take(itself, events)
        if events:
            itself._member.commit(offsets=positions_after(events), asynchronous=False)

    Polling.take = take_and_commit
    Transaction.send_offsets = lambda *_: None


def a_group_that_forgets() -> None:
    """Report no committed offsets at first after each start, as a coordinator that still loads its group may."""
    create = Positions.__init__

    def create_on(itself: Any, settings: Any, consumer: Consumer, *others: Any) -> None:
        create(itself, settings, _Forgetful(consumer), *others)

    Positions.__init__ = create_on


class _Forgetful:
    """In the place of a consumer that is asked for offsets."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._forgets = 3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def committed(self, partitions: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
        self._forgets -= 1
        if self._forgets < 0:
            return self._consumer.committed(list(partitions), seconds)
        return [TopicPartition(place.topic, place.partition, OFFSET_INVALID) for place in partitions]


def the_group_s_word_alone() -> None:
    """Trust the group's offsets without the cross-check."""
    Positions._is_behind = lambda *_: False
