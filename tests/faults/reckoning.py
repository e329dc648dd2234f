"""The end of a trial: wait until every event has its result, read everything again, and compare."""

import time
from dataclasses import replace

from confluent_kafka import KafkaException

from tests.faults.checker import Findings, Sent, Truth, check
from tests.faults.diagnosis import skipped_ends
from tests.faults.reading import Stored, stored
from tests.faults.trial import PATIENCE_SECONDS, Trial
from tests.testbed.kafka import committed_offsets, ends_of

# To read a million results on a busy machine.
_READ_SECONDS = 900.0
_QUIET_SECONDS = 5.0


def reckon(trial: Trial) -> Findings:
    """Finish the load, stop the workers, read everything from the beginning, and compare with the events sent."""
    # Step 1: finish the load, and wait for the last results.
    for worker in trial.wanted:
        worker.orders.withdraw()
    trial.steady.end()
    trial.load.finish(trial.size.events)
    sent = [*trial.load.sent, *_duplicates(trial)]
    _wait_for_results(trial, sent)
    # Step 2: stop the workers.
    trial.stop()
    # Step 3: read everything again. The open transaction of a killed worker blocks both readers until it times out.
    servers, names = trial.servers.kafka, trial.settings.names
    topics = [names.recommendations, names.dead_letters]
    ends = ends_of(servers.bootstrap_servers, topics, len(trial.partitions))
    later = trial.new_reader()
    later.start()
    for reader in (trial.reader, later):
        trial.until("the readers' end", lambda reader=reader: reader.has_read(ends), _READ_SECONDS)  # type: ignore[misc]
        reader.stop()
    # Step 4: compare.
    skipped = skipped_ends(servers, trial.settings.prefix)
    if skipped:
        trial.notes.append(
            f"Kafka skipped the ends of {skipped} transactions in partitions without a leader (KAFKA-20734)"
        )
    truth = Truth(names.profiles, sent, trial.collections, frozenset(trial.load.unacknowledged))
    return check(truth, trial.reader.outcomes, later.outcomes)


def _duplicates(trial: Trial) -> list[Sent]:
    """Events that the topic contains twice.

    An idempotent producer retries a request without a response, and brokers that die at that moment keep both copies. The
    worker cannot recognize them, and answers each.
    """
    known = {(sent.partition, sent.offset) for sent in trial.load.sent}
    by_identity = {_identity(sent): sent for sent in trial.load.sent}
    servers, topic = trial.servers.kafka.bootstrap_servers, trial.settings.names.profiles
    again = [
        replace(by_identity[_identity(record)], partition=record.partition, offset=record.offset)
        for record in stored(servers, topic, len(trial.partitions))
        if (record.partition, record.offset) not in known and _identity(record) in by_identity
    ]
    if again:
        trial.notes.append(f"{len(again)} events are in their topic twice: the load's producer retried them")
    return again


def _identity(record: Sent | Stored) -> tuple[bytes | None, bytes | None]:
    """The key, or the digest of a record without one."""
    return record.key, record.digest if record.key is None else None


def _wait_for_results(trial: Trial, events: list[Sent]) -> None:
    """Wait for a result of every event, or until no more can come: all offsets are committed, or nothing moves."""
    wanted = {sent.key for sent in events if sent.key is not None}
    ambiguous = len(wanted) < len(events)  # duplicates, or events without a key
    seen, since = -1, time.monotonic()
    while not wanted <= trial.reader.keys or (ambiguous and not _all_committed(trial, events)):
        still = time.monotonic() - since
        if still > PATIENCE_SECONDS or (still > _QUIET_SECONDS and _all_committed(trial, events)):
            return
        if len(trial.reader.outcomes) > seen:
            seen, since = len(trial.reader.outcomes), time.monotonic()
        trial.wait(0.5)


def _all_committed(trial: Trial, events: list[Sent]) -> bool:
    """Whether the committed offsets are past every event, so that a missing result is lost."""
    servers, names = trial.servers.kafka.bootstrap_servers, trial.settings.names
    try:
        committed = committed_offsets(servers, names.worker_group, names.profiles, len(trial.partitions))
    except KafkaException:  # a broker that restarts
        return False
    return all(sent.offset < committed[sent.partition] for sent in events)
