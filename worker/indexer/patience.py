"""Waiting for Milvus and for the store inside a job."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from worker.errors import MilvusError, StoreAwayError
from worker.indexer.job import Job
from worker.monitoring.http import Health

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 5.0
# A store that refuses the request for good must not keep the commands behind this one waiting for ever.
STORE_SECONDS = 30.0


def patiently(job: Job, health: Health, call: Callable[[], T]) -> T:
    """Repeat a call for as long as Milvus is away, and say so.

    Raises:
        AbandonedError: nobody wants the job any more.
    """
    backoff = _FIRST_BACKOFF_SECONDS
    while True:
        try:
            result = call()
        except MilvusError as error:
            health.set("milvus", str(error))
            log.warning("waiting for Milvus: %s", error)
            job.wait(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
        else:
            health.set("milvus", None)
            job.check()
            return result


def while_store_is_away(job: Job, health: Health, call: Callable[[], T]) -> T:
    """Repeat a call for a moment while the store is away, and say so.

    Raises:
        AbandonedError: nobody wants the job any more.
        StoreAwayError: the store was away for `STORE_SECONDS`.
        ReleaseError: as the call; what the store answers is not asked again.
    """
    backoff, deadline = _FIRST_BACKOFF_SECONDS, time.monotonic() + STORE_SECONDS
    while True:
        try:
            result = call()
        except StoreAwayError as error:
            if time.monotonic() >= deadline:
                health.set("store", None)
                raise
            health.set("store", str(error))
            log.warning("waiting for the store: %s", error)
            job.wait(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
        else:
            health.set("store", None)
            job.check()
            return result
