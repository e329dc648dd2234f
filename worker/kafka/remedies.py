"""What a broker refuses although it is there: the sentence that names the setting or the right, by error code."""

from confluent_kafka import KafkaError

_RIGHTS = "check the MARQUEE_KAFKA__ settings and the rights"
_TRANSACTIONAL_ID = (
    "grant Describe and Write on this transactional id, as `marquee acls` prints it; it is named by MARQUEE_PREFIX, "
    "and by MARQUEE_WORKER__ID or MARQUEE_INDEXER__ID"
)
_REMEDIES = {
    KafkaError._AUTHENTICATION: _RIGHTS,
    KafkaError.SASL_AUTHENTICATION_FAILED: _RIGHTS,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: _RIGHTS,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _TRANSACTIONAL_ID,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: (
        "lower MARQUEE_WORKER__SESSION_TIMEOUT_MS, which transactions follow, or raise the brokers' "
        "transaction.max.timeout.ms"
    ),
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set MARQUEE_WORKER__SESSION_TIMEOUT_MS and MARQUEE_OUTCOMES__SESSION_TIMEOUT_MS to what the brokers' "
        "group.min.session.timeout.ms and group.max.session.timeout.ms allow"
    ),
}


def remedy(error: KafkaError) -> str | None:
    """What a person has to change, None where waiting or a new process may help."""
    return _REMEDIES.get(error.code())
