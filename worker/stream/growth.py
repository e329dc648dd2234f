"""Topics of answers that have fewer partitions than `profiles`: grown where the worker may, else the remedy is named."""

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # re-exported

from schemas import kafka
from schemas.settings import Settings
from worker.kafka.admin import AdminProcess

log = logging.getLogger(__name__)

_SECONDS = 5.0


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
                self._learn(topics, _SECONDS)
                self._missed = False
            return {}
        self._missed = True
        refusal = ""
        if self._settings.kafka.create_topics:
            try:
                self._admin.call(grow_answers, self._settings, _SECONDS, seconds=2 * _SECONDS)
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
