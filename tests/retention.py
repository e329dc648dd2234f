"""What retention does, at once."""

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import kafka
from schemas.settings import Settings
from tests.processes import wait_for


def retention_takes(settings: Settings, before: list[TopicPartition]) -> None:
    """Delete every record before these offsets; -1 is the end.

    It is asked again where the client failed: at times one that is new does not find the leaders within its time.
    """
    admin = AdminClient(kafka.admin(settings.kafka))

    def gone() -> bool:
        try:
            return all(future.result() for future in admin.delete_records(before).values())
        except KafkaException:
            return False

    wait_for("the records to be gone", gone)
