"""The ids of topics: one that was deleted and made anew has its name again, and another id."""

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas import kafka
from schemas.settings import Settings

# For the process that asks each second.
_admins: dict[str, AdminClient] = {}
_NONE = "AAAAAAAAAAAAAAAAAAAAAA"  # of a broker that has no ids: all of its bits are zero


def topic_ids(settings: Settings, names: Sequence[str], timeout_s: float) -> dict[str, str]:
    """The id of each topic that exists; a topic is left out where the broker gives none.

    Processes that must not end call this by `worker.kafka.aside`.

    Raises:
        KafkaException: Kafka did not answer within `timeout_s`.
    """
    admin = _admin(settings)
    asked = admin.describe_topics(TopicCollection(list(names)), request_timeout=timeout_s)
    found = {}
    for name, future in asked.items():
        try:
            topic_id = str(future.result().topic_id)
        except KafkaException as exception:
            if exception.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            continue
        if topic_id != _NONE:
            found[name] = topic_id
    return found


def _admin(settings: Settings) -> AdminClient:
    key = settings.kafka.model_dump_json()
    if key not in _admins:
        _admins[key] = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    return _admins[key]
