"""The settings: one frozen object, read from `MARQUEE_…` variables and a TOML file, checked before anything starts."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.client_options import refusal, too_long
from schemas.errors import SettingsError
from schemas.meant import as_meant
from schemas.sources import SecretFiles, Variables
from schemas.topics import DEFAULT_PARTITIONS, DEFAULT_PREFIX, Names
from schemas.variables import CONFIG_VARIABLE, SECRETS_VARIABLE, check_names, variable

DEFAULT_CONFIG = "marquee.toml"
# Of a setting in seconds: a day. Python's and librdkafka's timers take no number that is much larger.
_LONGEST_S = 86_400.0


# What each mechanism needs, where it is not given as librdkafka's own options in kafka.client.
_CREDENTIALS = {
    "PLAIN": ("sasl_username", "sasl_password"),
    "SCRAM-SHA-256": ("sasl_username", "sasl_password"),
    "SCRAM-SHA-512": ("sasl_username", "sasl_password"),
    "OAUTHBEARER": ("sasl_oauth_token_url", "sasl_oauth_client_id", "sasl_oauth_client_secret"),
}


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, said: Any) -> Any:
        return as_meant(said, cls.model_fields)


class KafkaSettings(_Group):
    """The Kafka cluster, and how to be let in."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="host:port[,host:port…] of brokers."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_oauth_token_url: str | None = Field(
        None, description="Where OAUTHBEARER gets its tokens (OIDC client credentials)."
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
        description="Any other librdkafka option, for every client; it overrides Marquee's own. Refused: what promises rest "
        "on (`isolation.level`, for one), and what has a setting of its own.",
    )
    create_topics: bool = Field(
        True, description="Create missing topics at start; off where an operator owns them."
    )
    partitions: int = Field(
        DEFAULT_PARTITIONS, ge=1, le=10_000, description="Of profiles, when Marquee creates it."
    )
    replication_factor: int = Field(
        -1, ge=-1, le=32_767, description="Of topics Marquee creates; -1: the brokers' default."
    )
    delivery_timeout_s: float = Field(
        120.0,
        gt=0,
        le=_LONGEST_S,
        description="How long a producer outside a transaction tries to deliver a record, in seconds.",
    )

    @field_validator("client")
    @classmethod
    def _leaves_promises_alone(cls, options: dict[str, Any]) -> dict[str, Any]:
        if why := refusal(options):
            raise ValueError(why)
        return options


class MilvusSettings(_Group):
    """The Milvus server."""

    uri: str = Field(
        "http://127.0.0.1:19530",
        min_length=1,
        description="http(s)://host:port of a Milvus server, or http(s)://host:port/database.",
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
    timeout_s: float = Field(10.0, gt=0, le=_LONGEST_S, description="Of one call, in seconds.")
    exact_after_s: Annotated[float, Field(ge=0)] | Literal["never"] = Field(
        10.0,
        description="How long Milvus may be away before the worker searches its own copy, seconds, or `never`.",
    )

    @property
    def database_name(self) -> str:
        """The database, of its own setting or of the URI; "" for the server's default."""
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


class WorkerSettings(_Group):
    """The worker: from profile event to recommendation."""

    id: str | None = Field(
        None,
        pattern=r"^[0-9A-Za-z_.-]{1,100}$",
        description="Name that survives a restart, part of `transactional.id`; host name, a locked slot and a mark of the place if missing.",
    )
    delivery: Literal["exactly-once", "at-least-once"] = "exactly-once"
    retrieval: Literal["milvus", "exact"] = Field(
        "milvus", description="Search Milvus, or the worker's own copy of the vectors."
    )
    batch_events: int = Field(
        1_024,
        ge=1,
        le=16_384,
        description="Events a batch at most; beyond 1,024 Milvus gains little (see numbers).",
    )
    batch_max_mb: int = Field(
        8,
        ge=1,
        le=1_024,
        description="Size of a batch's events, in MiB at most; a larger event is a batch of its own.",
    )
    batch_deadline_ms: float = Field(
        5.0,
        ge=0,
        le=10_000,
        description="How long the first event waits for others while a batch is being answered, in milliseconds.",
    )
    cached_lists: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Lists kept for profiles that come again, about 1 KB each; 0 searches for every event.",
    )
    cache_max_mb: int = Field(
        64,
        ge=1,
        le=1_048_576,
        description="Size of the lists that are kept, with their keys, in MiB; beyond it, or beyond `cached_lists`, those "
        "unused the longest go. A candidate on trial keeps as many of its own.",
    )
    diversity: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much being unlike the others of its list counts beside a movie's score (maximal marginal relevance "
        "over the 50 best that qualify); 0 lists the best, 1 looks at the score of the first alone.",
    )
    exact_max_mb: int = Field(
        1_024,
        ge=0,
        description="Vectors that the worker keeps a copy of, for exact search, in megabytes; 0 keeps none.",
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without committed offsets begins."
    )
    on_lost_offset: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="Where to go on when retention has removed the next event; `stop` ends the worker.",
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="`consumer` is KIP-848; the session timeout is then the broker's."
    )
    # Kafka's own default is 45 s: partitions of a killed worker would stand still for so long.
    session_timeout_ms: int = Field(
        20_000,
        ge=16_000,
        le=1_800_000,
        description="After which a silent worker loses its partitions, milliseconds. A transaction lasts up to 10 s less; past "
        "910,000 the brokers' `transaction.max.timeout.ms` (15 minutes) has to be raised, or the worker ends with exit code 2.",
    )
    max_poll_interval_ms: int = Field(
        300_000, ge=1_000, le=86_400_000, description="The longest a poll may stay away, milliseconds."
    )
    stop_timeout_s: float = Field(
        8.0, gt=0, le=_LONGEST_S, description="To finish what is in flight on SIGTERM, in seconds."
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where the user tower runs.")
    embed_threads: int = Field(
        1, ge=1, le=256, description="Of Paddle on the CPU; more only help large batches."
    )

    @property
    def transaction_timeout_ms(self) -> int:
        """10 s below the session timeout: the broker looks for expired transactions every 10 s."""
        return self.session_timeout_ms - 10_000


class IndexerSettings(_Group):
    """The indexer: from release to checked collection."""

    id: str | None = Field(None, pattern=r"^[0-9A-Za-z_.-]{1,100}$", description="As worker.id.")
    batch_movies: int = Field(4_096, ge=1, le=65_536, description="Movies embedded and inserted at a time.")
    probes: int = Field(
        64, ge=1, le=10_000, description="Searches compared with exact search before activation."
    )
    index: Literal["auto", "FLAT", "HNSW"] = Field(
        "auto", description="Of a collection: FLAT is exact, HNSW fast on many movies."
    )
    # FLAT is as fast as HNSW while the catalogue is small.
    exact_movies: int = Field(
        100_000, ge=0, description="With `auto`, up to how many movies the index is FLAT."
    )
    keep_releases: int = Field(2, ge=2, description="Collections kept, the active one among them.")
    evaluation_tolerance: float = Field(
        0.02,
        ge=0,
        le=1,
        description="By how much, relatively, an evaluation may be below the active release's.",
    )

    def index_for(self, movies: int) -> Literal["FLAT", "HNSW"]:
        """The index of a collection of so many movies."""
        if self.index != "auto":
            return self.index
        return "FLAT" if movies <= self.exact_movies else "HNSW"


class OutcomesSettings(_Group):
    """The outcomes worker: what people did with their recommendations."""

    remembered: int = Field(
        500_000,
        ge=1,
        le=100_000_000,
        description="Recommendations of the last day that feedback is joined with, the oldest go first; some 400 bytes each.",
    )
    # Its transactions end with the id that its successor takes, so this needs no room for them as worker's does.
    session_timeout_ms: int = Field(
        10_000,
        ge=6_000,
        le=1_800_000,
        description="After which one that is silent loses its turn, and what people did waits for another; milliseconds.",
    )


class HttpSettings(_Group):
    """The port of the worker's page, /metrics, /health/live and /health/ready."""

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to bind, IPv4 or IPv6; loopback by default, `0.0.0.0` and `::` are all of the machine's.",
    )
    port: int = Field(9464, ge=0, le=65_535, description="0 takes a free one, and says which.")
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Who has it sees the last recommendations and dead letters on the worker's page; without one, only "
        "a port bound to loopback shows them.",
    )


class RegistrySettings(_Group):
    """A schema registry with Confluent's API; the bytes on the wire stay plain JSON, with or without one."""

    url: str | None = Field(
        None,
        description="Of its API; `marquee topics` registers the schemas; workers, indexers and outcomes workers check them.",
    )
    username: str | None = None
    password: SecretStr | None = None
    timeout_s: float = Field(10.0, gt=0, le=_LONGEST_S, description="Of one call, in seconds.")


class LogSettings(_Group):
    """Log lines on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """Everything that can be set. Variables win over the TOML file, the file over the defaults."""

    model_config = SettingsConfigDict(
        env_prefix="MARQUEE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    prefix: str = Field(
        DEFAULT_PREFIX,
        pattern=r"^[0-9A-Za-z_.-]{1,100}$",
        description="Of topics, groups, transactional ids and collections.",
    )
    store: str = Field("store", min_length=1, description="Folder of the releases, any fsspec URL.")
    kafka: KafkaSettings = KafkaSettings()
    milvus: MilvusSettings = MilvusSettings()
    worker: WorkerSettings = WorkerSettings()
    indexer: IndexerSettings = IndexerSettings()
    outcomes: OutcomesSettings = OutcomesSettings()
    http: HttpSettings = HttpSettings()
    registry: RegistrySettings = RegistrySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  ours leaves out what Kubernetes adds
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  .env files are not read
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            Variables(settings_cls),
            SecretFiles(settings_cls, getattr(file_secret_settings, "secrets_dir", None)),
            TomlConfigSettingsSource(settings_cls, config_file()),
        )

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        if self.kafka.security_protocol.startswith("SASL") and self.kafka.sasl_mechanism is None:
            raise ValueError(
                "kafka.sasl_mechanism (MARQUEE_KAFKA__SASL_MECHANISM) must be set when kafka.security_protocol is SASL_…"
            )
        needed = _CREDENTIALS.get(self.kafka.sasl_mechanism or "", ())
        missing = [name for name in needed if getattr(self.kafka, name) is None]
        if missing and self.kafka.security_protocol.startswith("SASL") and not self.kafka.client:
            raise ValueError(
                f"kafka.{missing[0]} ({variable(('kafka', missing[0]))}) must be set for {self.kafka.sasl_mechanism}"
            )
        return self

    @model_validator(mode="after")
    def _timeouts_go_together(self) -> Self:
        if why := too_long(self.kafka.client, self.worker.transaction_timeout_ms):
            raise ValueError(why)
        if self.worker.group_protocol == "classic":
            longest = self.worker.max_poll_interval_ms
            for name, said in (
                ("worker", self.worker.session_timeout_ms),
                ("outcomes", self.outcomes.session_timeout_ms),
            ):
                if said > longest:
                    raise ValueError(
                        f"MARQUEE_{name.upper()}__SESSION_TIMEOUT_MS of {said} is longer than "
                        f"MARQUEE_WORKER__MAX_POLL_INTERVAL_MS of {longest}, which Kafka's clients refuse"
                    )
        return self

    @model_validator(mode="after")
    def _milvus_tls_is_whole(self) -> Self:
        milvus = self.milvus
        client = (milvus.tls_certificate_location, milvus.tls_key_location)
        if any(client) and not (all(client) and milvus.tls_ca_location):
            raise ValueError(
                "milvus.tls_ca_location, milvus.tls_certificate_location and milvus.tls_key_location must be set together"
            )
        return self

    @property
    def names(self) -> Names:
        """The names of topics, groups and collections under this prefix."""
        return Names(self.prefix)


def config_file() -> Path | None:
    """The TOML file that is read, if any."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    default = Path(DEFAULT_CONFIG)
    return default if default.is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of this process; `overrides` (nested by group) win over variables and file.

    Raises:
        SettingsError: a value is wrong, a name is unknown, or the named TOML file cannot be read.
    """
    config = os.environ.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {config}, and there is no such file")
    secrets = os.environ.get(SECRETS_VARIABLE)
    if secrets and not Path(secrets).is_dir():
        raise SettingsError(f"{SECRETS_VARIABLE} names {secrets}, and there is no such folder")
    check_names(os.environ, Settings.model_fields)
    try:
        return Settings(_secrets_dir=secrets, **overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except (OSError, ValueError) as error:  # the file cannot be read, or is no TOML
        raise SettingsError(f"{config_file()}: {error}") from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        # A setting has a group at most; what pydantic adds is inside of its value.
        path = [str(part) for part in problem["loc"]][:2]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such setting; `marquee config` lists them all"
        if not path:  # of several settings together; the sentence names them
            lines.append(message)
            continue
        shown = (
            ""
            if problem["type"] in ("missing", "extra_forbidden")
            or _secret(path)
            or isinstance(problem["input"], dict)
            else f", got {problem['input']!r}"
        )
        lines.append(f"{'.'.join(path)} ({variable(path)}): {message}{shown}")
    return "; ".join(lines)


def _secret(path: list[str]) -> bool:
    return any(word in part for part in path for word in ("password", "token", "secret")) or len(path) < 2
