"""Transaction markers behind the last event: committed past, so that no tool counts them as lag.

A marker takes an offset that no event has. A group that has committed the position after the last event is behind by it for ever,
as tools count that compare offsets. The worker's client does not say where a partition's events end, so a second client reads from
the committed position to the end, and only where it finds no event its end is committed.

That is safe beside transactions: it is done while nothing is in flight, so no transaction of this worker holds offsets; the group
refuses it once the partition is another member's; and the position that was read from is compared again before.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas import kafka
from schemas.settings import Settings
from worker.kafka.errors import raise_if_final
from worker.monitoring.statistics import LagMetrics
from worker.stream.session import Member

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 5.0
_READ_SECONDS = 5.0
_LOG_CRITICAL = 2

Tail = tuple[int, int]  # the position that was read from, and the end up to which there is no event


class Tails:
    """Used by the thread that polls; `look` never waits for what is read."""

    def __init__(self, settings: Settings, member: Member, lag: LagMetrics) -> None:
        self._settings = settings
        self._member = member
        self._lag = lag
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tails")
        self._answer: Future[dict[int, Tail]] | None = None
        self._again_at = 0.0

    def look(self) -> None:
        """Commit past the markers that were found, and look for others. Called while nothing is in flight.

        Raises:
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if time.monotonic() < self._again_at:
            return
        if self._answer is None:
            behind = self._lag.behind()
            if behind:
                self._answer = self._thread.submit(self._read, behind)
            self._again_at = time.monotonic() + (0.1 if behind else _AGAIN_SECONDS)
        elif self._answer.done():
            answer, self._answer = self._answer, None
            self._again_at = time.monotonic() + _AGAIN_SECONDS
            self._commit(answer)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _commit(self, answer: Future[dict[int, Tail]]) -> None:
        topic, now = self._settings.names.profiles, self._lag.positions()
        try:
            tails = {n: end for n, (begin, end) in answer.result().items() if now.get(n) == begin}
            places = [TopicPartition(topic, number, end) for number, end in tails.items()]
            if places:
                self._member.commit(offsets=places, asynchronous=False)
                self._lag.committed(places)
        except KafkaException as exception:  # a rebalance, or brokers away: looked for again
            raise_if_final(exception.args[0])
            log.info("positions behind transaction markers not committed: %s", exception.args[0].str())

    def _read(self, behind: Mapping[int, int]) -> dict[int, Tail]:
        """In the second thread."""
        names = self._settings.names
        own: kafka.Config = {
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": _LOG_CRITICAL,
        }
        reader = Consumer(kafka.reader(self._settings.kafka, names.worker_group, own))
        deadline = time.monotonic() + _READ_SECONDS
        left, found = set(behind), dict[int, Tail]()
        try:
            reader.assign([TopicPartition(names.profiles, number, at) for number, at in behind.items()])
            while left and time.monotonic() < deadline:
                for message in reader.consume(1, 0.1):
                    number, error = message.partition() or 0, message.error()
                    if number in left and error is not None and error.code() == KafkaError._PARTITION_EOF:
                        end = message.offset() or 0
                        if end > behind[number]:
                            found[number] = behind[number], end
                    left.discard(number)
        finally:
            reader.close()
        return found
