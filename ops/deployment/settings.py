"""The settings in force, with their sources and without secrets; variables that look like settings and are none."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, SecretStr
from pydantic_settings import TomlConfigSettingsSource

from schemas.settings import Settings, config_file
from schemas.variables import SECRETS_VARIABLE, SecretFiles, Variables, unknown, variable

log = logging.getLogger(__name__)

Origin = Literal["default", "variable", "secret", "file"]
HIDDEN = "**********"
# librdkafka's options that contain a secret, not a file name.
_SECRET_OPTION = re.compile(r"password|secret|token|\.pem$|jaas|oauthbearer\.config", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Setting:
    """A setting: its variable, its value with secrets hidden, and the source of the value."""

    variable: str
    value: object
    origin: Origin


def in_force(settings: Settings) -> Iterator[Setting]:
    """Yield every setting, in the order of the reference page."""
    sources = _sources()
    for path, value in _flat(settings):
        origins = (origin for origin, values in sources if _contains(values, path))
        yield Setting(variable(path), _shown(value), next(origins, "default"))


def _flat(settings: Settings) -> Iterator[tuple[tuple[str, ...], object]]:
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                yield (name, inner), getattr(value, inner)
        else:
            yield (name,), value


def unknown_variables() -> list[str]:
    """List the variables that look like settings and are none."""
    return unknown(os.environ, Settings.model_fields)[0]


def log_unread_variables() -> None:
    """Log the variables that look like settings and are none, and those that Kubernetes adds."""
    unread, links = unknown(os.environ, Settings.model_fields)
    if unread:
        log.warning("ignored variables, no settings: %s", ", ".join(unread))
    if links:
        log.info("ignored variables, service links of Kubernetes: %s", ", ".join(links))


def _sources() -> list[tuple[Origin, Mapping[str, Any]]]:
    """The values of each source, in the order in which sources win."""
    return [
        ("variable", Variables(Settings)()),
        ("secret", SecretFiles(Settings, os.environ.get(SECRETS_VARIABLE))()),
        ("file", TomlConfigSettingsSource(Settings, config_file())()),
    ]


def _contains(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    inner: object = values
    for name in path:
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True


def _shown(value: object) -> object:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if _SECRET_OPTION.search(name) else _shown(inner) for name, inner in value.items()
        }
    if isinstance(value, str):
        return _USER_INFO.sub(HIDDEN, value)
    return value if isinstance(value, int | float | None) else str(value)
