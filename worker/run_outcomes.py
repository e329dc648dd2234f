"""An outcomes worker's process: its parts in the order in which they start, and stop the other way round."""

import logging

from schemas.settings import Settings
from worker.lifecycle import end_quietly
from worker.monitoring.http import Health, serve
from worker.monitoring.outcomes_metrics import OutcomesMetrics
from worker.outcomes.loop import Outcomes
from worker.stopping import Stopping, on_signals

log = logging.getLogger(__name__)


def run_outcomes(settings: Settings) -> None:
    """Run an outcomes worker until SIGTERM or SIGINT.

    Raises:
        SettingsError: a wrong setting, or Kafka refuses who we are.
        FatalKafkaError: Kafka ended this process for good; a new one can go on.
    """
    stopping = Stopping()
    on_signals(stopping.set)
    health = Health()
    with serve(settings.http, health) as http:
        log.info("outcomes worker, metrics and health at http://%s", http.address)
        Outcomes(settings, health, OutcomesMetrics(), stopping).run()
    end_quietly()
