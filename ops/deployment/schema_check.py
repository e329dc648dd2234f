"""Before a worker, an indexer or an outcomes worker begins: are the schemas of what it reads and writes in the registry?"""

import logging

from schemas import registry
from schemas.errors import UnreachableError
from schemas.settings import Settings

log = logging.getLogger(__name__)


def check_schemas(settings: Settings) -> None:
    """Look the schemas up where a registry is named; one that is away keeps nobody from working.

    Raises:
        SettingsError, MarqueeError: the registry refuses us, or does not have this version's schemas.
    """
    if settings.registry.url is None:
        return
    try:
        registry.check(settings)
    except UnreachableError as error:
        log.warning("beginning without having checked the schemas: %s", error)
