"""Which topic of the name `profiles` events are of, and which results are of this one.

The id of the topic is kept in `releases`, with the ends of the topics of answers when it was first seen: results before these ends
answer events of an earlier topic. The member that has partition 0 writes it, after it has set the group's offsets to the topic's
beginning; the others wait for the record, so that none takes the offsets of the earlier topic for its own.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # re-exported

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.kafka import watermarks
from schemas.release import TopicRecord, topic_key
from schemas.settings import Settings
from worker.events import Partition
from worker.kafka.admin import AdminProcess, topic_ids
from worker.kafka.reader import read_releases

log = logging.getLogger(__name__)

_SECONDS = 2.0
_WRITE_SECONDS = 5.0
_GROW_SECONDS = 5.0
# No output counts of a topic that was recreated and is not recorded yet.
_NEVER = 2**62


@dataclass(frozen=True)
class Seen:
    """The state of `profiles` at one moment."""

    since: dict[Partition, int] = field(default_factory=dict)
    """Offsets of the topics of answers: what lies before them answers events of another `profiles`."""
    known: bool = False
    """Whether everything after these offsets answers events of this very topic; else timestamps tell."""
    made_anew: bool = False
    """Whether the group's offsets are of an earlier topic."""
    stale: bool = False
    """Whether this process may have committed offsets of an earlier topic after they were set back."""
    record: TopicRecord | None = None
    """What the member that has partition 0 is to write."""


class Origin:
    """Used by the thread that asks for positions, but for `write`."""

    def __init__(self, settings: Settings, admin: AdminProcess) -> None:
        self._settings, self._admin = settings, admin
        names = settings.names
        self._profiles = names.profiles
        self._answers = (names.recommendations, names.dead_letters)
        self._record: TopicRecord | None = None
        self._seen: str | None = None
        self._worked_for: str | None = None

    def look(self, consumer: Consumer) -> Seen:
        """Compare the topics' ids with those recorded.

        Raises:
            KafkaException, UnreachableError: Kafka did not answer in time.
        """
        ids = self._ids()
        own = ids.get(self._profiles)
        self._seen = own
        if own is None:
            return Seen()
        if not self._is_recorded(ids):
            self._record = read_releases(self._settings, _SECONDS).topics.get(self._profiles)
        record = self._record
        if record is None or record.topic_id != own:
            first = self._new_record(consumer, ids, record)
            return Seen(since=_since(first), made_anew=record is not None, record=first)
        stale = self._worked_for not in (None, own)
        since = _since(record) | self._unknown(ids, record)
        fresh = None if self._is_recorded(ids) else self._new_record(consumer, ids, record)
        return Seen(since, known=not record.adopted, stale=stale, record=fresh)

    def begun(self) -> None:
        """Partitions of the topic that was seen last are put to work."""
        self._worked_for = self._seen

    def is_another(self) -> bool:
        """Whether `profiles` is another topic than the one that is worked for. Raises as `look`."""
        own = self._ids().get(self._profiles)
        return None not in (own, self._worked_for) and own != self._worked_for

    def write(self, record: TopicRecord) -> None:
        """Publish the record.

        Raises:
            UnreachableError: Kafka did not take it in time.
        """
        producer = Producer(kafka.producer(self._settings.kafka))
        topic = self._settings.names.releases
        errors: list[object] = []
        producer.produce(
            topic,
            record.model_dump_json().encode(),
            topic_key(record.topic),
            on_delivery=lambda error, _: errors.append(error) if error else None,
        )
        if producer.flush(_WRITE_SECONDS) or errors:
            raise UnreachableError(f"the topic id of {record.topic} could not be written to {topic}")
        self._record = record

    def _ids(self) -> dict[str, str]:
        names = (self._profiles, *self._answers)
        return self._admin.call(topic_ids, self._settings, names, _SECONDS, seconds=_SECONDS)

    def _is_recorded(self, ids: dict[str, str]) -> bool:
        record = self._record
        return (
            record is not None
            and record.topic_id == ids.get(self._profiles)
            and all(record.answers.get(topic) == ids.get(topic) for topic in self._answers)
        )

    def _unknown(self, ids: dict[str, str], record: TopicRecord) -> dict[Partition, int]:
        anew = [topic for topic in self._answers if ids.get(topic) != record.answers.get(topic)]
        return {(topic, number): _NEVER for topic in anew for number in range(1_000)}

    def _new_record(self, consumer: Consumer, ids: dict[str, str], before: TopicRecord | None) -> TopicRecord:
        """The record of the topics as they are; the ends of those that are recorded stay."""
        same = before is not None and before.topic_id == ids[self._profiles]
        ends = {}
        for topic in self._answers:
            if before is not None and same and before.answers.get(topic) == ids.get(topic):
                ends[topic] = before.ends.get(topic, [])
            else:
                ends[topic] = _ends(consumer, topic)
        adopted = before.adopted if before is not None and same else False
        if before is None:  # an older Marquee has answered here, or this is a new deployment
            adopted = any(any(each) for each in ends.values())
            ends = {topic: [] for topic in self._answers}
        return TopicRecord(
            topic=self._profiles,
            topic_id=ids[self._profiles],
            answers={topic: ids[topic] for topic in self._answers if topic in ids},
            ends=ends,
            adopted=adopted,
        )


def _since(record: TopicRecord) -> dict[Partition, int]:
    return {
        (topic, number): end for topic, ends in record.ends.items() for number, end in enumerate(ends) if end
    }


def _ends(consumer: Consumer, topic: str) -> list[int]:
    partitions: Collection[int] = consumer.list_topics(topic, timeout=_SECONDS).topics[topic].partitions
    return [watermarks(consumer, TopicPartition(topic, n), _SECONDS)[1] for n in range(len(partitions))]


class Growth:
    """Used by the thread that asks for positions."""

    def __init__(
        self, settings: Settings, admin: AdminProcess, learn: Callable[[list[str], float], None]
    ) -> None:
        """`learn` makes the producer ask how many partitions these topics have: it refuses those that it does not know."""
        self._settings, self._admin = settings, admin
        self._learn = learn
        self._missed = False

    def grow(self, missing: Mapping[int, str]) -> dict[int, str]:
        """Give the topics as many partitions as `profiles` has; why each of those that are missing is so still."""
        names = self._settings.names
        topics = [names.recommendations, names.dead_letters]
        if not missing:
            if self._missed:
                self._learn(topics, _GROW_SECONDS)
                self._missed = False
            return {}
        self._missed = True
        refusal = ""
        if self._settings.kafka.create_topics:
            try:
                self._admin.call(grow_answers, self._settings, _GROW_SECONDS, seconds=2 * _GROW_SECONDS)
            except KafkaException as exception:
                refusal = f" (growing it was refused: {exception.args[0].str()})"
        return {
            number: f"{topic} has no partition {number}, and a result goes to its event's partition number{refusal}; "
            "give it as many as profiles has with `marquee topics`"
            for number, topic in missing.items()
        }


def grow_answers(settings: Settings, timeout_s: float) -> None:
    """Give both topics of answers as many partitions as `profiles` has; another worker may do the same at the same time.

    Raises:
        KafkaException: Kafka did not answer within `timeout_s`, or refused.
    """
    names = settings.names
    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    seen = admin.list_topics(timeout=timeout_s).topics
    wanted = len(seen[names.profiles].partitions)
    small = [t for t in (names.recommendations, names.dead_letters) if len(seen[t].partitions) < wanted]
    if not small:
        return
    asked = admin.create_partitions([NewPartitions(t, wanted) for t in small], request_timeout=timeout_s)
    for topic, future in asked.items():
        try:
            future.result()
            log.warning("%s has %d partitions now, as many as %s", topic, wanted, names.profiles)
        except KafkaException as exception:
            if exception.args[0].code() != KafkaError.INVALID_PARTITIONS:  # another worker was first
                raise
