"""Errors of the worker by what happens next.

retry        MilvusError, and below it SlowMilvusError, RefusedCallError, ForeignCollectionError
             StoreAwayError, ForeignVectorsError, SupersededError
keep serving ReleaseError, and below it StoreAwayError, UnreadableReleaseError
abort        AbortedError, AbandonedError
halve, down  RefusedError, RefusedQueriesError, NoNumberError, MixedReleasesError
to a dead letter
exit         SettingsError (code 2) and FatalKafkaError (code 3), in schemas.errors
"""

from schemas.errors import MarqueeError


class ReleaseError(MarqueeError):
    """A release is missing, incomplete or corrupt: keep serving the active release, and report it."""


class StoreAwayError(ReleaseError):
    """The store did not answer, or refused the request: the release may be there, so retry for a moment."""


class UnreadableReleaseError(ReleaseError):
    """A release is whole, but written for a newer Marquee or Paddle than this process."""


class MilvusError(MarqueeError):
    """Milvus is away, slow or not ready: wait and retry; nothing is lost."""


class SlowMilvusError(MilvusError):
    """Milvus did not answer in time: it is away, or the call is too large."""


class RefusedCallError(MilvusError):
    """Milvus answered with an error: it is not well, or the call is at fault."""


class ForeignCollectionError(MilvusError):
    """A collection of that name belongs to another deployment: take another name."""


class RefusedQueriesError(Exception):
    """Milvus answers, and refuses these queries: search for fewer, down to the event."""


class MixedReleasesError(Exception):
    """Two releases had a part in a result: never publish it."""


class ForeignVectorsError(Exception):
    """The vectors of a tower are not those of its batch: embed again, and publish none of them."""


class NoNumberError(Exception):
    """The vector of an event has a component that is no number: the event is at fault."""


class AbortedError(Exception):
    """A transaction did not commit, or its outcome is unknown: rewind to the committed offsets."""


class RefusedError(Exception):
    """Client or broker refused a record of a transaction, and none is committed: publish fewer at a time."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy  # for a person, where not even a dead letter is taken


class SupersededError(Exception):
    """Another release was swapped in while the batch waited for Milvus: start it again with that release."""


class AbandonedError(Exception):
    """The partitions of the batch were revoked or lost: drop it; their new owner answers its events."""
