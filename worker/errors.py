"""Errors of the worker, sorted by what happens next."""

from schemas.errors import MarqueeError


class ReleaseError(MarqueeError):
    """A release is missing, incomplete or corrupt: keep serving what is there, and say so."""


class StoreAwayError(ReleaseError):
    """The store did not answer, or refused the request: the release may be there all the same, so try again for a moment."""


class UnreadableReleaseError(ReleaseError):
    """A release is whole, but written for a newer Marquee or Paddle than this process."""


class MilvusError(MarqueeError):
    """Milvus is away, slow or not ready: wait and try again; nothing is lost."""


class SlowMilvusError(MilvusError):
    """Milvus did not answer in time: it is away, or was asked for too much at once."""


class RefusedCallError(MilvusError):
    """Milvus answered that it cannot do this: it is not well, or what it was asked is at fault."""


class ForeignCollectionError(MilvusError):
    """A collection of that name is there already, and not this deployment's: take another name."""


class RefusedQueriesError(Exception):
    """Milvus answers, and refuses these queries for what they are: search for fewer, down to the event."""


class MixedReleasesError(Exception):
    """Two releases had a part in a result, which must never happen: it is not published."""


class ForeignVectorsError(Exception):
    """A tower gave vectors that are not those of its batch: embed it again; nothing of it is kept or published."""


class NoNumberError(Exception):
    """A tower gave an event a vector that is no number: the event's own fault."""


class AbortedError(Exception):
    """What was published is undone, or nobody knows: read the positions back from Kafka and begin again there."""


class RefusedError(Exception):
    """Client or broker refused these records for what they are, and none is committed: try fewer at a time."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy  # for a person, where not even a dead letter is taken


class SupersededError(Exception):
    """The batch waits for Milvus, and another release serves by now: begin it again with that."""


class AbandonedError(Exception):
    """The batch is no longer ours: drop it; whoever has its partitions answers it."""
