"""Every setting that is in force, and where it came from; what is secret is hidden."""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic_settings import TomlConfigSettingsSource

from schemas.settings import Settings, config_file
from schemas.variables import SECRETS_VARIABLE, SecretFiles, Variables, unknown, variable

log = logging.getLogger(__name__)

HIDDEN = "**********"
# librdkafka's options that hold a secret themselves, not a file's name.
_SECRET_OPTION = re.compile(r"password|secret|token|\.pem$|jaas|oauthbearer\.config", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Setting:
    """One setting: its variable, its value as it may be shown, and its origin in words."""

    variable: str
    value: object
    origin: str


def in_force(settings: Settings) -> Iterator[Setting]:
    """All settings, in the order of the reference page."""
    sources = _Sources()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                yield _setting(sources, (name, inner), getattr(value, inner))
        else:
            yield _setting(sources, (name,), value)


def unknown_variables() -> list[str]:
    """Variables that look like settings and are none: nobody reads them."""
    return unknown(os.environ, Settings.model_fields)[0]


def log_unread_variables() -> None:
    """One line for the variables that nobody reads, and one for those that Kubernetes adds."""
    unread, links = unknown(os.environ, Settings.model_fields)
    if unread:
        log.warning("ignored variables, no settings: %s", ", ".join(unread))
    if links:
        log.info("ignored variables, service links of Kubernetes: %s", ", ".join(links))


def _setting(sources: "_Sources", path: tuple[str, ...], value: object) -> Setting:
    return Setting(variable(path), _shown(value), sources.origin(path))


class _Sources:
    """What each source says, in the order in which they win."""

    def __init__(self) -> None:
        self._file = config_file()
        self._secrets = os.environ.get(SECRETS_VARIABLE)
        self._environment = {name.upper() for name in os.environ}
        self._said: list[tuple[str, Mapping[str, Any]]] = [
            ("variable", Variables(Settings)()),
            ("secret", SecretFiles(Settings, self._secrets)()),
            ("file", TomlConfigSettingsSource(Settings, self._file)()),
        ]

    def origin(self, path: tuple[str, ...]) -> str:
        kind = next((kind for kind, said in self._said if _says(said, path)), "default")
        name = variable(path)
        match kind:
            case "variable":
                # A whole group can be one variable, as JSON.
                return f"variable {name if name in self._environment else variable(path[:1])}"
            case "secret":
                return f"secret {self._secrets}/{name.lower()}"
            case "file":
                return f"file {self._file}"
        return kind


def _says(said: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    inner: object = said
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
