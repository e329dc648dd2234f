"""An indexer process: its parts in the order in which they start, and stop the other way round."""

import logging
import signal
from types import FrameType

from schemas.settings import Settings
from worker.http import Health, serve
from worker.identity import claim_identity
from worker.indexer import Indexer

log = logging.getLogger(__name__)


def run_indexer(settings: Settings) -> None:
    """Run an indexer until SIGTERM or SIGINT.

    Raises:
        SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
        FatalKafkaError: Kafka ended this process for good; a new one can go on.
    """
    identity = claim_identity(
        settings.indexer.id, f"{settings.kafka.bootstrap_servers} {settings.names.indexer_group}"
    )
    health = Health()
    http = serve(settings.http, health)
    log.info("indexer %s, metrics and health at http://%s", identity.id, http.address)
    indexer = Indexer(settings, identity.id, health)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        indexer.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        indexer.run()
    finally:
        http.close()
        identity.release()
    log.info("stopped")
