"""Which Kafka errors end the process: what no waiting mends."""

import pytest
from confluent_kafka import KafkaError

from schemas.errors import FatalKafkaError, SettingsError
from worker.kafka.errors import raise_if_final


def test_a_fatal_error_ends_the_process() -> None:
    with pytest.raises(FatalKafkaError):
        raise_if_final(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True))


def test_a_consumer_s_fatal_error_ends_it_too_although_it_does_not_say_that_it_is_fatal() -> None:
    """As librdkafka hands it over when a group refuses its member for good."""
    with pytest.raises(FatalKafkaError):
        raise_if_final(KafkaError(KafkaError._FATAL, "Fatal error: Broker: The group id does not exist"))


def test_refused_rights_end_it_as_wrong_settings() -> None:
    with pytest.raises(SettingsError):
        raise_if_final(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
def test_brokers_that_are_away_end_nothing(code: int) -> None:
    raise_if_final(KafkaError(code))


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional id.*MARQUEE_PREFIX.*MARQUEE_WORKER__ID"),
        (KafkaError.INVALID_TRANSACTION_TIMEOUT, "MARQUEE_WORKER__SESSION_TIMEOUT_MS.*transaction.max.timeout.ms"),
        (KafkaError.INVALID_SESSION_TIMEOUT, "MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS.*group.max.session.timeout.ms"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("fatal", [False, True])
def test_a_refused_value_names_its_setting_also_where_the_client_ends_with_it(
    code: int, named: str, fatal: bool
) -> None:
    with pytest.raises(SettingsError, match=named) as refusal:
        raise_if_final(KafkaError(code, fatal=fatal))
    assert refusal.value.exit_code == 2
