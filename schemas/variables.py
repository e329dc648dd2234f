"""The sources of settings: `MARQUEE_…` variables and secret files, with checks of their names."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from schemas.errors import SettingsError

PREFIX = "MARQUEE_"
# The variable that names the TOML file; without it, marquee.toml in the working directory is read where there is one.
CONFIG_VARIABLE = "MARQUEE_CONFIG"
# The variable that names a folder of secrets: one file a setting, named like the variable in lower case.
SECRETS_VARIABLE = "MARQUEE_SECRETS_DIR"

Fields = Mapping[str, FieldInfo]

# No settings: the names of the file and of the folder, and the variables of the tests.
_OTHERS = re.compile(rf"MARQUEE_(TEST|PADDLE)\w*|{CONFIG_VARIABLE}|{SECRETS_VARIABLE}")
# Kubernetes gives every container the address of each service of its namespace; a service `marquee-http` becomes
# MARQUEE_HTTP_PORT=tcp://10.0.0.1:9464, which looks like the setting MARQUEE_HTTP__PORT.
_LINK_NAME = re.compile(
    r"MARQUEE_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def variable(path: Iterable[str]) -> str:
    """The variable of a setting: `("kafka", "client")` is MARQUEE_KAFKA__CLIENT."""
    return PREFIX + "__".join(path).upper()


def settings_of(fields: Fields) -> Iterator[tuple[str, ...]]:
    """The path of each setting and of each group."""
    for name, field in fields.items():
        yield (name,)
        for inner in _group(field):
            yield (name, inner)


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes made this variable of a service of the namespace."""
    name = name.upper()
    return bool(_LINK_NAME.fullmatch(name)) or (name.endswith("_PORT") and bool(_LINK_VALUE.match(value)))


def check_names(environment: Mapping[str, str], fields: Fields) -> None:
    """Refuse variables that are a setting but for their underscores, and a setting given twice.

    Raises:
        SettingsError: names the variable, and its right spelling.
    """
    said = [name for name, value in _ours(environment) if not is_service_link(name, value)]
    if misspelt := [f"{name} is no setting: write {right}" for name, right in misspellings(said, fields)]:
        raise SettingsError("; ".join(misspelt))
    for name in said:
        twins = sorted(other for other in said if other.upper() == name.upper())
        if len({environment[twin] for twin in twins}) > 1:
            raise SettingsError(f"{' and '.join(twins)} are the same setting with different values: keep one")


def misspellings(names: Iterable[str], fields: Fields) -> list[tuple[str, str]]:
    """Names that would be a setting if their underscores were doubled, or halved, each with the right spelling."""
    settings = {variable(path) for path in settings_of(fields)}
    by_words = {_words(setting): setting for setting in settings}
    return [
        (name, by_words[_words(name)])
        for name in sorted(names)
        if name.upper() not in settings and _words(name) in by_words
    ]


def unknown(environment: Mapping[str, str], fields: Fields) -> tuple[list[str], list[str]]:
    """Variables that are no setting: those that look like one, and Kubernetes' service links."""
    groups = {variable((name,)) for name in fields}
    unread = [
        (name, value)
        for name, value in _ours(environment)
        if not _OTHERS.fullmatch(name.upper())
        and (name.upper().partition("__")[0] not in groups or is_link_of_group(name, value, fields))
    ]
    links = [name for name, value in unread if is_service_link(name, value) or _LINK_VALUE.match(value)]
    return [name for name, _ in unread if name not in links], links


def is_link_of_group(name: str, value: str, fields: Fields) -> bool:
    """Whether a service link has the name of a whole group, which would be read as JSON."""
    groups = {variable((group,)) for group, field in fields.items() if _group(field)}
    return name.upper() in groups and bool(_LINK_VALUE.match(value))


def check_json(said: Mapping[str, str | None], fields: Fields, where: str = "") -> None:
    """Refuse values that should be JSON objects and are none; a value itself may be a secret, and is not shown.

    Raises:
        SettingsError: names the variable, or the file in the folder `where`.
    """
    for name in _objects(fields):
        value = said.get(name.lower())
        if value is not None and not _is_object(value):
            shown = f"{where}/{name.lower()}" if where else name
            raise SettingsError(f'{shown} must be a JSON object, as in {{"name": "value"}}, and is none')


def secret_files(folder: Path, fields: Fields) -> dict[str, str]:
    """The content of each file of the folder that is named like a setting; others are not opened.

    Raises:
        SettingsError: a file of ours cannot be read, is no text, or its name is misspelt.
    """
    names = {variable(path).lower() for path in settings_of(fields)}
    try:
        entries = sorted(entry for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise SettingsError(
            f"{SECRETS_VARIABLE} names {folder}, which cannot be read: {error.strerror}"
        ) from None
    found = [entry.name for entry in entries]
    for name, right in misspellings(found, fields):
        raise SettingsError(f"{folder}/{name} is no setting: name the file {right.lower()}")
    for name in found:
        if name.lower() not in names and _looks_like_one(name, fields):
            raise SettingsError(f"{folder}/{name}: there is no such setting; `marquee config` lists them all")
    return {entry.name.lower(): _text(entry) for entry in entries if entry.name.lower() in names}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is no UTF-8 text; it should hold the value of a setting") from None


def _looks_like_one(name: str, fields: Fields) -> bool:
    group, _, rest = name.upper().partition("__")
    return bool(rest) and rest.isidentifier() and group in {variable((each,)) for each in fields}


def _ours(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in environment.items() if name.upper().startswith(PREFIX))


def _words(name: str) -> str:
    return re.sub("_+", "_", name.upper())


def _group(field: FieldInfo) -> Fields:
    kind = field.annotation
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _objects(fields: Fields) -> Iterator[str]:
    """Variables that hold JSON: of whole groups, and of settings that are mappings."""
    for name, field in fields.items():
        if inner := _group(field):
            yield variable((name,))
            yield from (
                variable((name, key)) for key, value in inner.items() if get_origin(value.annotation) is dict
            )


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


class Variables(EnvSettingsSource):
    """The environment, without service links of Kubernetes that have the name of a group."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)
        fields = settings.model_fields
        links = {name.lower() for name, value in os.environ.items() if is_link_of_group(name, value, fields)}
        self.env_vars = {name: value for name, value in self.env_vars.items() if name not in links}
        check_json(self.env_vars, fields)


class SecretFiles(EnvSettingsSource):
    """A folder with one file a setting, as Kubernetes mounts it; pydantic's own source opens every file in it."""

    def __init__(self, settings: type[BaseSettings], folder: Any) -> None:
        super().__init__(settings)
        fields = settings.model_fields
        self.env_vars = secret_files(Path(folder), fields) if folder else {}
        check_json(self.env_vars, fields, f"{folder}")
