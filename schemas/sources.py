"""Where settings are read from: variables and secret files, each with its name in what is refused."""

import os
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, EnvSettingsSource

from schemas.variables import check_json, is_link_of_group, secret_files


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
