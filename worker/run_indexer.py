"""An indexer process: its parts in the order in which they start, and stop the other way round."""

import logging

from schemas.settings import Settings
from worker.identity import claim_identity
from worker.indexer.loop import Indexer
from worker.lifecycle import end_quietly
from worker.monitoring.http import Health, serve
from worker.monitoring.indexer_metrics import IndexerMetrics
from worker.stopping import Stopping, on_signals

log = logging.getLogger(__name__)


def run_indexer(settings: Settings) -> None:
    """Run an indexer until SIGTERM or SIGINT.

    Raises:
        SettingsError: a wrong setting, or Kafka or Milvus refuse who we are.
        FatalKafkaError: Kafka ended this process for good; a new one can go on.
    """
    stopping = Stopping()
    on_signals(stopping.set)
    health = Health()
    with (
        claim_identity(settings.indexer.id, settings.names.indexer_group) as identity,
        serve(settings.http, health) as http,
    ):
        log.info("indexer %s, metrics and health at http://%s", identity.id, http.address)
        Indexer(settings, identity.id, health, IndexerMetrics(), stopping).run()
    end_quietly()
