"""Waiting for Milvus inside a job."""

import logging
from collections.abc import Callable
from typing import TypeVar

from worker.errors import MilvusError
from worker.http import Health
from worker.job import Job

log = logging.getLogger(__name__)
T = TypeVar("T")

_FIRST_BACKOFF_SECONDS = 0.2
_LONGEST_BACKOFF_SECONDS = 5.0


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
