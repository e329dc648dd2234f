"""Errors of the worker, sorted by what happens next."""

from schemas.errors import MarqueeError


class ReleaseError(MarqueeError):
    """A release is missing, incomplete or corrupt: keep serving what is there, and say so."""


class UnreadableReleaseError(ReleaseError):
    """A release is whole, but written for a newer Marquee or Paddle than this process."""


class MilvusError(MarqueeError):
    """Milvus is away, slow or not ready: wait and try again; nothing is lost."""

