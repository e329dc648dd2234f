"""Kafka client configuration, made from the settings. Each value that is not librdkafka's default has its reason beside it."""

from typing import TYPE_CHECKING, Any

from schemas.settings import KafkaSettings, Settings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, TopicPartition

Config = dict[str, Any]

# librdkafka's largest: a broker that delivered an event must never be refused its dead letter by our own client.
MAX_MESSAGE_BYTES = 1_000_000_000

# Records in a consumer's queue, decompressed. librdkafka's 64 MiB are no faster.
QUEUE_KBYTES = 16 * 1_024
# One fetch response, still compressed: it is queued whole, whatever its size decompressed. Of librdkafka's 50 MiB, compressed
# 20:1, one alone could fill 1 GiB. A larger batch of records arrives nevertheless, alone.
FETCH_BYTES = 1_024 * 1_024


def refuses_us(error: "KafkaError") -> bool:
    """Whether a client-wide error is a refusal, by the broker or by this client, which no retry changes.

    With TLS 1.3 a broker checks the client's certificate after the handshake, and librdkafka reports its alert as a transport
    error.
    """
    from confluent_kafka import KafkaError

    final = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL)
    return error.code() in final or (
        error.code() == KafkaError._TRANSPORT and "SSL alert number" in error.str()
    )


def _client(settings: KafkaSettings, own: Config | None = None) -> Config:
    """The options of every client, shape `{librdkafka option: value}`.

    Args:
        own: options of this kind of client; MARQUEE_KAFKA__CLIENT overrides them too, but for options that settings refuse there.
    """
    return _base(settings) | _credentials(settings) | (own or {}) | settings.client


def _base(settings: KafkaSettings) -> Config:
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        # Retry soon while Kafka is away, without a flood of requests. The default goes up to 10 s.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1_000,
        # A broker that hangs or is cut off closes no connection: only this timeout notices, and by then another broker leads
        # its partitions. librdkafka's 60 s would stop them for that long. Less than a call within a transaction may take (4 s),
        # so that the request is sent to another broker in time.
        "socket.timeout.ms": 3_000,
        # librdkafka refreshes metadata only when a connection breaks, or after 5 minutes. A broker that hung breaks its
        # connections after the 3 s above; where it was the controller too, its partitions have no other leader by then.
        # New topics are seen within this interval too.
        "topic.metadata.refresh.interval.ms": 3_000,
        # librdkafka logs every attempt to connect; errors that matter reach the error callbacks.
        "log_level": 2,
    }


def _credentials(settings: KafkaSettings) -> Config:
    files = {
        "ssl.ca.location": settings.ssl_ca_location,
        "ssl.certificate.location": settings.ssl_certificate_location,
        "ssl.key.location": settings.ssl_key_location,
    }
    secrets = {
        "sasl.password": settings.sasl_password,
        "sasl.oauthbearer.client.secret": settings.sasl_oauth_client_secret,
        "ssl.key.password": settings.ssl_key_password,
    }
    optional = {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.oauthbearer.method": "oidc" if settings.sasl_oauth_token_url else None,
        "sasl.oauthbearer.token.endpoint.url": settings.sasl_oauth_token_url,
        "sasl.oauthbearer.client.id": settings.sasl_oauth_client_id,
        "sasl.oauthbearer.scope": settings.sasl_oauth_scope,
        **{option: file and str(file) for option, file in files.items()},
        **{option: secret and secret.get_secret_value() for option, secret in secrets.items()},
    }
    return {option: value for option, value in optional.items() if value is not None}


def admin(settings: KafkaSettings, own: Config | None = None) -> Config:
    """For an AdminClient; `own` as for every client."""
    return _client(settings, own)


def producer(settings: KafkaSettings, own: Config | None = None) -> Config:
    """For a producer without transactions: idempotent, partitioned as Java's clients do; `own` as for every client."""
    return _client(
        settings,
        {
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "message.timeout.ms": int(settings.delivery_timeout_s * 1_000),
        }
        | (own or {}),
    )


def transactional_producer(
    settings: KafkaSettings, transactional_id: str, timeout_ms: int, own: Config | None = None
) -> Config:
    """For the one transactional producer of a process; `own` as for every client.

    A request may last at most as long as the transaction: librdkafka refuses more.
    """
    config = producer(
        settings,
        {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": timeout_ms,
            # Not longer than the transaction: it would be refused.
            "message.timeout.ms": timeout_ms,
            # A commit flushes, so a wait for more records only adds latency.
            "linger.ms": 0,
            # The next transaction gets CONCURRENT_TRANSACTIONS while the markers of the last are written, and waits for the
            # whole backoff: 100 ms makes back-to-back transactions 10 to 20 times slower.
            "retry.backoff.ms": 1,
            "retry.backoff.max.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            # A new producer asks all brokers at once, because the first that it picks may be the one that is gone. Results go to
            # every leader anyway. (Not among librdkafka's documented options.)
            "enable.sparse.connections": False,
        }
        | (own or {}),
    )
    return config | {"socket.timeout.ms": min(int(config["socket.timeout.ms"]), timeout_ms)}


def reader(settings: KafkaSettings, group: str, own: Config | None = None) -> Config:
    """For a consumer that reads committed records and never commits offsets of its own accord; `own` as for every client."""
    return _client(
        settings,
        {
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": False,
            "allow.auto.create.topics": False,
            # The default of 500 ms delays a quiet topic's first record.
            "fetch.wait.max.ms": 5,
            "fetch.queue.backoff.ms": 2,
            "queued.max.messages.kbytes": QUEUE_KBYTES,
            "fetch.max.bytes": FETCH_BYTES,
        }
        | (own or {}),
    )


def worker_consumer(settings: Settings, own: Config | None = None) -> Config:
    """For the worker: positions come from committed offsets alone, and a lost offset is an error, not a silent jump."""
    worker = settings.worker
    config: Config = {
        "auto.offset.reset": "error",
        # Interval at which the client checks, for each partition, whether its queue of 100,000 events or QUEUE_KBYTES is still
        # full. With so many events queued, a shorter one gains nothing.
        "fetch.queue.backoff.ms": 20,
        "max.poll.interval.ms": worker.max_poll_interval_ms,
        "group.protocol": worker.group_protocol,
    }
    if worker.group_protocol == "classic":
        config |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": worker.session_timeout_ms,
            "heartbeat.interval.ms": 3_000,
        }
    return reader(settings.kafka, settings.names.worker_group, config | (own or {}))


def watermarks(consumer: "Consumer", place: "TopicPartition", timeout_s: float) -> tuple[int, int]:
    """The first offset of a partition, and the offset after its last record.

    With `isolation.level` read_committed the end is the last stable offset.

    The consumer is asked and not the admin client: in librdkafka 2.16 `AdminClient.list_offsets` ends the process (a failed
    assertion, a double free, a segmentation fault) where metadata arrives while it looks for a leader, as it does when
    brokers come back or are slow.

    Raises:
        KafkaException: the brokers did not answer within `timeout_s`, in seconds.
    """
    from confluent_kafka import KafkaError, KafkaException

    found = consumer.get_watermark_offsets(place, timeout=timeout_s)
    if found is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return found
