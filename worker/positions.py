"""Where to go on in each partition: from the group's committed offsets, never from memory, and not against what is answered."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from schemas.settings import Settings
from schemas.watermarks import watermarks
from worker.answered import Answered, AnsweredReader
from worker.calls import close_aside
from worker.errors import DoubtedError

log = logging.getLogger(__name__)

# One question to the brokers for offsets; it is asked again for as long as they are away.
OFFSETS_SECONDS = 2.0
# A reader of answers that got none is replaced where it is older.
OLD_SECONDS = 6.0
# For how long a group that tells less than was answered is asked again: a coordinator that has too much to load takes seconds.
DOUBT_SECONDS = 30.0


class Positions:
    """Asks the group, and exactly once also the answers; one for each worker, used by the thread that polls."""

    def __init__(self, settings: Settings, consumer: Consumer) -> None:
        self._consumer = consumer
        self._settings = settings
        # At least once, answers are delivered before their offsets: to be behind them is what a crash leaves.
        self._answered = AnsweredReader(settings) if settings.worker.delivery == "exactly-once" else None
        self._answered_since = time.monotonic()
        self._doubted: dict[int, int] = {}
        self._doubted_since = 0.0
        self._set_back: dict[int, int] = {}  # offsets of partitions that somebody set back on purpose

    def committed(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The committed offset of each partition, or for one without, where the settings say that a group begins.

        An offset that an open transaction is about to change is waited for: `isolation.level=read_committed` makes the
        broker refuse to tell an unstable one.

        Raises:
            KafkaException: the brokers did not tell in time.
            DoubtedError: they told what cannot be; to be repeated.
            SettingsError, FatalKafkaError: as `raise_if_final`.
        """
        if not partitions:
            return []
        # Read first: nothing that is committed in between can then contradict the offsets.
        answered = self._answered_of(partitions)
        positions = self._consumer.committed(list(partitions), OFFSETS_SECONDS)
        for position in positions:
            if position.error is not None:
                raise KafkaException(position.error)
        self._doubt([position for position in positions if self._is_behind(position, answered)], answered)
        self._begin([position for position in positions if position.offset < 0])
        return positions

    def expect_others(self) -> None:
        """Be ready to ask brokers that lead since a moment ago: something was undone, or partitions were lost.

        Who has read nothing for a while remembers those who led then, and one of them that stands still is asked for
        seconds. A new reader asks all of them at once who leads, while the transactional id is taken.
        """
        if self._answered is None:
            return
        close_aside(self._answered.close)
        self._answered, self._answered_since = AnsweredReader(self._settings), time.monotonic()

    def close(self) -> None:
        if self._answered is not None:
            self._answered.close()

    def _answered_of(self, partitions: Iterable[TopicPartition]) -> dict[int, Answered]:
        if self._answered is None:
            return {}
        try:
            return self._answered.last([place.partition for place in partitions], OFFSETS_SECONDS)
        except KafkaException:
            # On a busy machine a new one takes a second or more to begin: it is left its time.
            if time.monotonic() - self._answered_since > OLD_SECONDS:
                self.expect_others()
            raise

    def _is_behind(self, position: TopicPartition, answered: Mapping[int, Answered]) -> bool:
        last = answered.get(position.partition)
        if last is None or position.offset > last.offset:
            return False
        set_back = self._set_back.get(position.partition)
        return set_back is None or position.offset < set_back

    def _doubt(self, behind: Sequence[TopicPartition], answered: Mapping[int, Answered]) -> None:
        """Ask again, until the group has told the same for long; then it is so, and why decides where to go on."""
        told = {position.partition: position.offset for position in behind}
        now = time.monotonic()
        if told != self._doubted:
            self._doubted, self._doubted_since = told, now
            if told:
                log.warning(
                    "asking the group again, which tells less than was answered: %s", _words(told, answered)
                )
        if told and now - self._doubted_since < DOUBT_SECONDS:
            raise DoubtedError(f"the group tells less than was answered: {_words(told, answered)}")
        self._believe(behind, answered)

    def _believe(self, behind: Sequence[TopicPartition], answered: Mapping[int, Answered]) -> None:
        set_back = {position.partition: position.offset for position in behind if position.offset >= 0}
        self._set_back |= set_back
        lost, made_anew = {}, {}
        for position in behind:
            last = answered[position.partition]
            if position.offset >= 0:
                continue
            assert self._answered is not None
            if self._answered.is_of(position.partition, last, OFFSETS_SECONDS):
                lost[position.partition] = position.offset
                position.offset = last.offset + 1
            else:
                made_anew[position.partition] = position.offset
        for told, what in (
            (set_back, "somebody set these offsets back, and events are answered once more"),
            (lost, "the group has lost these offsets: going on after the last answers"),
            (made_anew, "the topic was made anew, its answers are to events that are gone: beginning"),
        ):
            if told:
                log.warning("%s: %s", what, _words(told, answered))

    def _begin(self, fresh: Sequence[TopicPartition]) -> None:
        for position in fresh:
            position.offset = OFFSET_BEGINNING
        if fresh and self._settings.worker.start == "latest":
            for position in fresh:
                _, position.offset = watermarks(self._consumer, position, OFFSETS_SECONDS)
            # From here on nothing may be skipped, also not by whoever has the partition after us.
            self._consumer.commit(offsets=list(fresh), asynchronous=False)


def go_to(consumer: Consumer, positions: Sequence[TopicPartition]) -> None:
    """Go on at these positions of assigned partitions; what was fetched from elsewhere is dropped.

    Assigned anew, because `seek` refuses a partition whose last fetch failed or has not begun.
    """
    if positions:
        consumer.incremental_unassign(list(positions))
        consumer.incremental_assign(list(positions))


def _words(told: Mapping[int, int], answered: Mapping[int, Answered]) -> str:
    return ", ".join(
        f"partition {partition} {'none' if offset < 0 else offset}, answered {answered[partition].offset}"
        for partition, offset in sorted(told.items())
    )
