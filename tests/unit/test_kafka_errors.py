"""The table of error codes: the errors that end the process, and the remedy of each."""

import pytest
from confluent_kafka import KafkaError

from schemas.errors import FatalKafkaError, SettingsError
from worker.kafka import errors
from worker.kafka.errors import Next, raise_if_final, rule, undecodable_at


def test_a_fatal_error_ends_the_process() -> None:
    with pytest.raises(FatalKafkaError):
        raise_if_final(KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, fatal=True))


def test_a_consumer_s_fatal_error_ends_the_process_although_it_is_not_marked_as_fatal() -> None:
    """Given the error that librdkafka reports when a group refuses its member."""
    with pytest.raises(FatalKafkaError):
        raise_if_final(KafkaError(KafkaError._FATAL, "Fatal error: Broker: The group id does not exist"))


def test_refused_rights_end_the_process_like_wrong_settings() -> None:
    with pytest.raises(SettingsError):
        raise_if_final(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TRANSPORT])
def test_brokers_that_are_away_do_not_end_the_process(code: int) -> None:
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
def test_a_refused_value_ends_the_process_with_the_name_of_its_setting(
    code: int, named: str, fatal: bool
) -> None:
    with pytest.raises(SettingsError, match=named) as refusal:
        raise_if_final(KafkaError(code, fatal=fatal))
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("code", errors._TABLE)
def test_each_row_that_needs_a_person_has_a_remedy(code: int) -> None:
    found = rule(KafkaError(code))
    assert found.next != Next.RETRY
    if found.next & (Next.EXIT | Next.OTHER_VALUE | Next.DEAD_LETTER):
        assert found.remedy


def test_a_code_without_a_row_is_retried() -> None:
    assert rule(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)).next == Next.RETRY


def test_an_alert_of_the_broker_about_the_certificate_ends_the_process() -> None:
    """Given TLS 1.3, where the alert arrives after the handshake, as a transport error."""
    alert = "SSL alert number 45: certificate expired"
    with pytest.raises(SettingsError):
        raise_if_final(KafkaError(KafkaError._TRANSPORT, alert))


class Reported:
    """A message with an error."""

    def __init__(self, code: int, offset: int) -> None:
        self._code, self._offset = code, offset

    def error(self) -> KafkaError:
        return KafkaError(self._code)

    def offset(self) -> int:
        return self._offset


@pytest.mark.parametrize(
    ("code", "offset", "first"),
    [
        (KafkaError._BAD_COMPRESSION, 7, 7),
        (KafkaError.INVALID_MSG, 7, 7),
        (KafkaError._BAD_MSG, -1, None),
        (KafkaError.MSG_SIZE_TOO_LARGE, 7, None),
        (KafkaError._PARTITION_EOF, 7, None),
    ],
)
def test_a_batch_that_cannot_be_decoded_is_known_by_its_first_offset(
    code: int, offset: int, first: int | None
) -> None:
    assert undecodable_at(Reported(code, offset)) == first  # type: ignore[arg-type]
