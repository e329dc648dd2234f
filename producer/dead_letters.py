"""Dead letters: reads them with their redrive state, and publishes their events again, each once.

A redrive puts the event and a marker, keyed by the dead letter's own place, into one transaction, so that either both
are there or neither. A redrive first takes the deployment's one transactional id, which fences another redrive and ends the
transaction of a killed one, and only then reads the markers. So a letter that is redriven twice, by two at a time or after a
kill, is published once.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic import ValidationError

from producer.cluster import Refusal, partitions, unreachable
from producer.endings import DeadLetter, read_dead_letter
from producer.reader import read_to_end
from schemas import kafka
from schemas.dead_letter import RESERVED_HEADER_PREFIX, VALUE_LENGTH, Reason, RedriveMarker
from schemas.errors import FatalKafkaError, MarqueeError, SettingsError
from schemas.headers import Headers, headers_of
from schemas.settings import Settings

log = logging.getLogger(__name__)

# Letters of one transaction: enough that its cost does not count, few enough for its timeout.
BATCH_LETTERS = 500
# A killed redrive leaves its transaction open for that long, and readers of `profiles` wait for it.
_TRANSACTION_MS = 10_000
_NOT_ALLOWED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}


@dataclass(frozen=True)
class Letter:
    """A dead letter at its own place of `dead-letters`; `headers` are the event's, without ours."""

    place: str  # topic-partition-offset
    dead: DeadLetter
    headers: Headers
    redriven_at: datetime | None
    whole: bool  # False where the event's bytes did not fit or could not be read, so that they are lost


@dataclass(frozen=True)
class Selection:
    """A selection of letters: those that match every condition. Times are of the letters' own timestamps."""

    places: frozenset[str] = frozenset()
    reasons: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, letter: Letter) -> bool:
        at = letter.dead.timestamp_ms / 1_000
        return (
            (not self.places or letter.place in self.places)
            and (not self.reasons or letter.dead.reason in self.reasons)
            and (not self.releases or letter.dead.release in self.releases)
            and (self.since is None or at >= self.since.timestamp())
            and (self.until is None or at < self.until.timestamp())
        )

    def names(self, letter: Letter) -> bool:
        """Whether the letter's place or its reason is selected explicitly."""
        return letter.place in self.places or letter.dead.reason in self.reasons


@dataclass
class Redriven:
    """Result of a redrive: the number of events published again, and the places left out, as in `Split`."""

    published: int = 0
    lost: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Split:
    """Letters to publish again, and places left out: those without bytes, and `crashed` events that nothing names.

    Workers ended at a `crashed` event. It is published again only if its reason or its place is selected.
    """

    wanted: list[Letter]
    lost: list[str]
    crashed: list[str]

    @classmethod
    def of(cls, letters: Iterable[Letter], selection: Selection) -> "Split":
        """Split letters that were not redriven before."""
        split = cls([], [], [])
        for letter in letters:
            if letter.dead.reason == Reason.CRASHED and not selection.names(letter):
                split.crashed.append(letter.place)
            elif letter.whole:
                split.wanted.append(letter)
            else:
                split.lost.append(letter.place)
        return split


def letters(
    settings: Settings, selection: Selection, timeout_s: float, *, settled: bool = False
) -> Iterator[Letter]:
    """The letters that are there now, within a partition in the order of their events.

    `settled` waits for markers whose transaction is under way.

    Raises:
        UnreachableError, SettingsError, MarqueeError, FatalKafkaError: as `read_to_end`.
    """
    names = settings.names
    markers = {
        message.key(): message.value()
        for message in read_to_end(settings, names.redriven, timeout_s=timeout_s, settled=settled)
    }
    for message in read_to_end(settings, names.dead_letters, timeout_s=timeout_s):
        try:
            dead = read_dead_letter(message)
        except MarqueeError as error:
            log.warning("%s", error)
            continue
        letter = _letter(message, dead, markers)
        if letter in selection:
            yield letter


class Redriver:
    """Publishes letters again; of two at a time, the later one fences the earlier. Not for several threads."""

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        """Take the transactional id: from here on, no other redrive of this deployment can commit.

        Raises:
            UnreachableError: Kafka did not answer within `timeout_s`.
            SettingsError: Kafka refused the credentials, or the right to redrive.
            MarqueeError: a topic does not exist.
        """
        self._settings = settings
        self._timeout_s = timeout_s
        self._refusal = Refusal()
        names = settings.names
        self._producer = Producer(
            kafka.transactional_producer(
                settings.kafka,
                names.redrive_transactional_id,
                _TRANSACTION_MS,
                {"error_cb": self._refusal, "log_level": 0},
            )
        )
        topics = [names.profiles, names.redriven]
        partitions(self._producer, settings.kafka, topics, self._refusal, timeout_s)
        try:
            self._producer.init_transactions(timeout_s)
        except KafkaException as error:
            raise self._explain(error.args[0]) from None

    def redrive(self, selection: Selection) -> Iterator[Redriven]:
        """Publish the letters that match and were not redriven before; gives the count so far after each commit.

        Raises:
            UnreachableError: the outcome of the last transaction is unknown; to be repeated, nothing is doubled.
            FatalKafkaError: another redrive took over.
            SettingsError, MarqueeError: as `letters`, or Kafka refused an event.
        """
        done = Redriven()
        found = letters(self._settings, selection, self._timeout_s, settled=True)
        fresh = (letter for letter in found if letter.redriven_at is None)
        while batch := list(islice(fresh, BATCH_LETTERS)):
            split = Split.of(batch, selection)
            self.commit(split.wanted)
            done.published += len(split.wanted)
            done.lost += split.lost
            done.crashed += split.crashed
            yield done

    def commit(self, batch: Sequence[Letter]) -> None:
        """Publish events and markers in one transaction, or nothing. Raises as `redrive`."""
        try:
            self._producer.begin_transaction()
            self.produce(batch)
            self._producer.commit_transaction(self._timeout_s)
        except KafkaException as error:
            self._abort()
            raise self._explain(error.args[0]) from None
        except KeyboardInterrupt:
            self._abort()
            raise

    def produce(self, batch: Iterable[Letter]) -> None:
        """Put events, as new ones, and their markers into the transaction that is open."""
        names = self._settings.names
        for letter in batch:
            topic = names.feedback if letter.dead.topic == names.feedback else names.profiles
            self._producer.produce(topic, letter.dead.value, letter.dead.key, headers=letter.headers)
            marker = RedriveMarker(
                letter_timestamp_ms=letter.dead.timestamp_ms, redriven_at=datetime.now(UTC)
            )
            self._producer.produce(names.redriven, marker.model_dump_json(), letter.place, partition=0)
            self._producer.poll(0)

    def _abort(self) -> None:
        """End the transaction at once if that is possible; else its timeout or the next redrive does."""
        try:
            self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            log.debug("abort_transaction: %s", error.args[0].str())

    def _explain(self, error: KafkaError) -> MarqueeError:
        if error.code() in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
            return FatalKafkaError(
                "another `marquee dead-letters redrive` of this deployment took over; what this one had committed stands"
            )
        if error.code() in _NOT_ALLOWED:
            return SettingsError(
                f"Kafka does not let this client redrive ({error.str()}); grant it the rights of `marquee acls`, among them the "
                f"transactional id {self._settings.names.redrive_transactional_id}, which MARQUEE_PREFIX names"
            )
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            return MarqueeError(
                f"{self._settings.names.profiles} takes no record as large as one of these letters; raise its "
                "max.message.bytes, or choose others"
            )
        where = unreachable(self._settings.kafka, self._refusal, self._timeout_s, error)
        return type(where)(f"{where}; run it again: what was redriven is marked, and not redriven twice")


def _letter(message: Message, dead: DeadLetter, markers: dict[bytes | None, bytes | None]) -> Letter:
    place = f"{message.topic()}-{message.partition()}-{message.offset()}"
    headers = headers_of(message)
    return Letter(
        place,
        dead,
        [pair for pair in headers if not pair[0].startswith(RESERVED_HEADER_PREFIX)],
        _redriven_at(markers.get(place.encode()), dead.timestamp_ms),
        dead.reason != Reason.UNREADABLE and all(name != VALUE_LENGTH for name, _ in headers),
    )


def _redriven_at(marker: bytes | None, timestamp_ms: int) -> datetime | None:
    """The moment when the letter of that timestamp was redriven; an unreadable marker counts, so that no event is doubled."""
    if marker is None:
        return None
    try:
        read = RedriveMarker.model_validate_json(marker)
    except ValidationError:
        return datetime.fromtimestamp(timestamp_ms / 1_000, UTC)
    return read.redriven_at if read.letter_timestamp_ms == timestamp_ms else None
