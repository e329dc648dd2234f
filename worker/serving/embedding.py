"""The vectors of a batch: its own, and numbers."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from schemas.profile import ProfileEvent
from worker.errors import ForeignVectorsError, NoNumberError
from worker.monitoring.metrics import Metrics
from worker.monitoring.threads import Cancellation
from worker.release.release import Release
from worker.retrieval.lists import Vectors

log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS = 0.05
_LONGEST_BACKOFF_SECONDS = 2.0


def embed(
    release: Release, profiles: Sequence[ProfileEvent], metrics: Metrics, cancellation: Cancellation
) -> Vectors:
    """Vectors of n events, float32 [n, dimension]; embeds again for as long as the tower gives those of another batch.

    Raises:
        AbandonedError: the batch was cancelled.
        NoNumberError: an event's vector is no number. No other event's suffers by it: halve the batch.
    """
    backoff = _FIRST_BACKOFF_SECONDS
    while True:
        try:
            vectors = release.embed_profiles(profiles)
            break
        except ForeignVectorsError as error:
            metrics.release.mismatch(len(profiles))
            log.warning(
                "embedding %d events with release %s again: %s",
                len(profiles),
                release.manifest.release,
                error,
            )
        cancellation.check()
        time.sleep(backoff)
        backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
    if not np.isfinite(vectors).all():
        raise NoNumberError(
            f"the user tower of release {release.manifest.release} gives a vector that is no number"
        )
    return vectors
