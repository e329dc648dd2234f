"""The settings: one frozen object, read from `MARQUEE_…` variables and a TOML file, checked before anything starts."""

import os
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.connection_settings import (
    HttpSettings,
    KafkaSettings,
    LogSettings,
    MilvusSettings,
    RegistrySettings,
    too_long,
)
from schemas.errors import SettingsError
from schemas.names import DEFAULT_PREFIX, Names
from schemas.process_settings import IndexerSettings, OutcomesSettings, WorkerSettings
from schemas.variables import (
    CONFIG_VARIABLE,
    SECRETS_VARIABLE,
    SecretFiles,
    Variables,
    check_names,
    variable,
)

__all__ = [
    "DEFAULT_CONFIG",
    "HttpSettings",
    "IndexerSettings",
    "KafkaSettings",
    "LogSettings",
    "MilvusSettings",
    "OutcomesSettings",
    "RegistrySettings",
    "Settings",
    "WorkerSettings",
    "config_file",
    "load_settings",
]

DEFAULT_CONFIG = "marquee.toml"

# Settings that each SASL mechanism needs, unless kafka.client gives them as librdkafka's own options.
_CREDENTIALS = {
    "PLAIN": ("sasl_username", "sasl_password"),
    "SCRAM-SHA-256": ("sasl_username", "sasl_password"),
    "SCRAM-SHA-512": ("sasl_username", "sasl_password"),
    "OAUTHBEARER": ("sasl_oauth_token_url", "sasl_oauth_client_id", "sasl_oauth_client_secret"),
}


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
        description="Prefix of topics, groups, transactional ids and collections.",
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
