"""Settings of the connections: Kafka, Milvus, the schema registry, the HTTP port and the log."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo

from schemas.names import DEFAULT_PARTITIONS

# A day, in seconds. Python's and librdkafka's timers refuse much larger numbers.
LONGEST_S = 86_400.0

_PROMISED = "what Marquee promises rests on its own value"

# librdkafka's options that MARQUEE_KAFKA__CLIENT may not set, each with the reason.
REFUSED = {
    "bootstrap.servers": "set MARQUEE_KAFKA__BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set MARQUEE_KAFKA__BOOTSTRAP_SERVERS",
    "message.timeout.ms": "set MARQUEE_KAFKA__DELIVERY_TIMEOUT_S",
    "delivery.timeout.ms": "set MARQUEE_KAFKA__DELIVERY_TIMEOUT_S",
    "group.protocol": "set MARQUEE_WORKER__GROUP_PROTOCOL",
    "max.poll.interval.ms": "set MARQUEE_WORKER__MAX_POLL_INTERVAL_MS",
    "transaction.timeout.ms": "set MARQUEE_WORKER__SESSION_TIMEOUT_MS, which it follows",
    "auto.offset.reset": "set MARQUEE_WORKER__START and MARQUEE_WORKER__ON_LOST_OFFSET",
    "group.id": "names follow MARQUEE_PREFIX",
    "transactional.id": "names follow MARQUEE_PREFIX and MARQUEE_WORKER__ID",
    "group.instance.id": "clients of one process would fence each other",
    "statistics.interval.ms": "readiness and metrics are made from these reports",
    **dict.fromkeys(
        (
            "delivery.report.only.error",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.idempotence",
            "enable.partition.eof",
            "isolation.level",
            "message.max.bytes",
            "partition.assignment.strategy",
            "partitioner",
        ),
        _PROMISED,
    ),
}
# A request of any client must end before the transaction in which it is sent.
_REQUEST_TIMEOUTS = ("socket.timeout.ms",)


class Group(BaseModel):
    """One group of settings. An empty text of an optional setting is none, and choices may have any case."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        fields = cls.model_fields
        return {
            name: _as_meant(value, fields[name]) if name in fields else value for name, value in given.items()
        }


def _as_meant(value: Any, field: FieldInfo) -> Any:
    if not isinstance(value, str):
        return value
    if not value and field.default is None:
        return None
    return {choice.lower(): choice for choice in _choices(field.annotation)}.get(value.lower(), value)


def _choices(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (choice for choice in get_args(annotation) if isinstance(choice, str))
    else:
        for inner in get_args(annotation):
            yield from _choices(inner)


class KafkaSettings(Group):
    """The Kafka cluster, and the credentials for it."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Addresses of brokers, host:port[,host:port…]."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_oauth_token_url: str | None = Field(
        None, description="URL of OAUTHBEARER's token endpoint (OIDC client credentials)."
    )
    sasl_oauth_client_id: str | None = None
    sasl_oauth_client_secret: SecretStr | None = None
    sasl_oauth_scope: str | None = None
    ssl_ca_location: FilePath | None = Field(
        None, description="PEM file of the authorities that sign the brokers."
    )
    ssl_certificate_location: FilePath | None = Field(
        None, description="PEM file of the client's certificate."
    )
    ssl_key_location: FilePath | None = Field(None, description="PEM file of the client's key.")
    ssl_key_password: SecretStr | None = None
    client: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Other librdkafka options, for every client; they override Marquee's own. Refused: options on which a "
        "promise rests (`isolation.level`, for one), and options that have a setting of their own.",
    )
    create_topics: bool = Field(
        True, description="Creation of missing topics at start; off where an operator owns the topics."
    )
    partitions: int = Field(
        DEFAULT_PARTITIONS, ge=1, le=10_000, description="Partitions of `profiles` when Marquee creates it."
    )
    replication_factor: int = Field(
        -1,
        ge=-1,
        le=32_767,
        description="Replicas of the topics that Marquee creates; -1 is the brokers' default.",
    )
    delivery_timeout_s: float = Field(
        120.0,
        gt=0,
        le=LONGEST_S,
        description="Time limit for the delivery of a record by a producer without transactions, in seconds.",
    )

    @field_validator("client")
    @classmethod
    def _leaves_promises_alone(cls, options: dict[str, Any]) -> dict[str, Any]:
        if why := refusal(options):
            raise ValueError(why)
        return options


def refusal(options: Iterable[str]) -> str | None:
    """A sentence about the first option that may not be set; None where all may."""
    for option in options:
        if option in REFUSED:
            return f"{option} may not be set here: {REFUSED[option]}"
        if option.endswith("_cb") or option in ("logger", "on_delivery"):
            return f"{option} is no option of librdkafka but a function of its Python client"
    return None


def too_long(options: Mapping[str, Any], transaction_timeout_ms: int) -> str | None:
    """A sentence about a request timeout that outlives a transaction; None where none does."""
    for option in _REQUEST_TIMEOUTS:
        given = str(options.get(option, 0))
        if not given.isdecimal() or int(given) > transaction_timeout_ms:
            return (
                f"kafka.client (MARQUEE_KAFKA__CLIENT): {option} of {given} must be a number of milliseconds, at most "
                f"{transaction_timeout_ms}, the length of a transaction: MARQUEE_WORKER__SESSION_TIMEOUT_MS less 10,000"
            )
    return None


class MilvusSettings(Group):
    """The Milvus server."""

    uri: str = Field(
        "http://127.0.0.1:19530",
        min_length=1,
        description="Address of a Milvus server, http(s)://host:port or http(s)://host:port/database.",
    )
    database: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][0-9A-Za-z_]*$",
        description="Database on the server; the server's default if missing.",
    )
    token: SecretStr | None = Field(None, description="API key, or user:password.")
    tls_ca_location: FilePath | None = Field(
        None, description="PEM file of the authorities that sign the server, where the system's do not."
    )
    tls_certificate_location: FilePath | None = Field(
        None, description="PEM file of the client's certificate, where the server asks for one."
    )
    tls_key_location: FilePath | None = Field(None, description="PEM file of the client's key.")
    timeout_s: float = Field(10.0, gt=0, le=LONGEST_S, description="Time limit of one call, in seconds.")
    exact_after_s: Annotated[float, Field(ge=0)] | Literal["never"] = Field(
        10.0,
        description="Outage of Milvus after which the worker searches its own copy of the vectors, in seconds, or `never`.",
    )

    @property
    def database_name(self) -> str:
        """The database, from its own setting or from the URI; "" for the server's default."""
        return self.database or self._named_in_uri

    @property
    def _named_in_uri(self) -> str:
        return urlsplit(self.uri).path.strip("/") if "://" in self.uri else ""

    @model_validator(mode="after")
    def _names_one_database(self) -> Self:
        named = self._named_in_uri
        if "/" in named or (named and self.database not in (None, named)):
            raise ValueError(
                f"milvus.uri names the database {named!r}: it must be one name, and that of milvus.database if both are set"
            )
        return self


class HttpSettings(Group):
    """The port of the worker's page, /metrics, /health/live and /health/ready."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to bind, IPv4 or IPv6; loopback by default, `0.0.0.0` and `::` are all of the machine's.",
    )
    port: int = Field(
        9464, ge=0, le=65_535, description="Port to bind; 0 takes a free one, and the log names it."
    )
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Token that opens the last recommendations and dead letters on the worker's page; without one, only a port "
        "bound to loopback shows them.",
    )


class RegistrySettings(Group):
    """A schema registry with Confluent's API; the bytes on the wire stay plain JSON, with or without one."""

    url: str | None = Field(
        None,
        description="URL of its API; `marquee topics` registers the schemas; workers, indexers and outcomes workers check "
        "them.",
    )
    username: str | None = None
    password: SecretStr | None = None
    timeout_s: float = Field(10.0, gt=0, le=LONGEST_S, description="Time limit of one call, in seconds.")


class LogSettings(Group):
    """Log lines on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"
