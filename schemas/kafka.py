"""Kafka client configuration, made from the settings. Each value that is not librdkafka's default says why."""

from typing import TYPE_CHECKING, Any

from schemas.settings import KafkaSettings, Settings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

Config = dict[str, Any]

# librdkafka's largest: a broker that delivered an event must never be refused its dead letter by our own client.
MAX_MESSAGE_BYTES = 1_000_000_000


def refuses_us(error: "KafkaError") -> bool:
    """Whether a client-wide error says that a broker will not have us, or we not it: no waiting mends that.

    With TLS 1.3 a broker looks at our certificate after the handshake, and librdkafka hands its alert on as a transport error.
    """
    from confluent_kafka import KafkaError

    final = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
    return error.code() in final or (
        error.code() == KafkaError._TRANSPORT and "SSL alert number" in error.str()
    )


def client(settings: KafkaSettings) -> Config:
    """What every client needs to reach the cluster and be let in, shape `{librdkafka option: value}`."""
    config: Config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        # Kafka away: try again soon, but do not hammer it. The default goes up to 10 s.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        # Without this, a topic that is created a moment later is not seen for up to 5 minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        "allow.auto.create.topics": False,
        # librdkafka logs every attempt to connect; what matters reaches us through the error callbacks.
        "log_level": 2,
    }
    optional = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password and settings.sasl_password.get_secret_value(),
        "sasl.oauthbearer.method": "oidc" if settings.sasl_oauth_token_url else None,
        "sasl.oauthbearer.token.endpoint.url": settings.sasl_oauth_token_url,
        "sasl.oauthbearer.client.id": settings.sasl_oauth_client_id,
        "sasl.oauthbearer.client.secret": settings.sasl_oauth_client_secret
        and settings.sasl_oauth_client_secret.get_secret_value(),
        "sasl.oauthbearer.scope": settings.sasl_oauth_scope,
        "ssl.ca.location": settings.ssl_ca_location and str(settings.ssl_ca_location),
        "ssl.certificate.location": settings.ssl_certificate_location
        and str(settings.ssl_certificate_location),
        "ssl.key.location": settings.ssl_key_location and str(settings.ssl_key_location),
        "ssl.key.password": settings.ssl_key_password and settings.ssl_key_password.get_secret_value(),
    }
    config.update({option: value for option, value in optional.items() if value is not None})
    config.update(settings.client)
    return config


def _only_clients(config: Config) -> Config:
    """Admin and producers refuse nothing but warn about consumer options; this one is the consumer's."""
    return {option: value for option, value in config.items() if option != "allow.auto.create.topics"}


def admin(settings: KafkaSettings) -> Config:
    """For an AdminClient."""
    return _only_clients(client(settings))


def producer(settings: KafkaSettings) -> Config:
    """For a producer without transactions: idempotent, partitioned as Java's clients do."""
    return _only_clients(client(settings)) | {
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 5,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "message.timeout.ms": int(settings.delivery_timeout_s * 1_000),
    }


def transactional_producer(settings: KafkaSettings, transactional_id: str, timeout_ms: int) -> Config:
    """For the one transactional producer of a process."""
    return producer(settings) | {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout_ms,
        # Not longer than the transaction: it would be refused.
        "message.timeout.ms": timeout_ms,
        # A commit flushes, so waiting for more only adds to the latency.
        "linger.ms": 0,
        # The next transaction meets CONCURRENT_TRANSACTIONS while the last one's markers are written, and waits the
        # whole backoff: 100 ms makes back-to-back transactions 10 to 20 times slower.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 20,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
    }


def reader(settings: KafkaSettings, group: str) -> Config:
    """For a consumer that reads committed records and never commits offsets of its own accord."""
    return client(settings) | {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": False,
        # The default of 500 ms keeps a quiet topic's first record back.
        "fetch.wait.max.ms": 5,
        "fetch.queue.backoff.ms": 2,
    }


def worker_consumer(settings: Settings) -> Config:
    """For the worker: positions come from committed offsets alone, and a lost one is an error, not a silent jump."""
    worker = settings.worker
    config = reader(settings.kafka, settings.names.worker_group) | {
        "auto.offset.reset": "error",
        "max.poll.interval.ms": worker.max_poll_interval_ms,
        "group.protocol": worker.group_protocol,
    }
    if worker.group_protocol == "classic":
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": worker.session_timeout_ms,
            "heartbeat.interval.ms": 3_000,
        }
    return config
