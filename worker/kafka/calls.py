"""Closing Kafka clients that may hang."""

import logging
from collections.abc import Callable

from worker.monitoring.threads import start_vital

log = logging.getLogger(__name__)


def close_aside(close: Callable[[], None]) -> None:
    """Close a client in a thread of its own: it may wait for a broker that is gone."""

    def failed(error: BaseException) -> None:
        log.warning("closing a Kafka client failed: %s", error)

    start_vital("close", close, failed)
