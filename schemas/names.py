"""Names on Kafka and Milvus. All take one prefix, so that two deployments can share both."""

import hashlib
import re
from dataclasses import dataclass

DEFAULT_PREFIX = "marquee."
DEFAULT_PARTITIONS = (
    12  # of profiles, when Marquee creates it: divides evenly by 1, 2, 3, 4, 6 and 12 workers
)

_DIGEST_DIGITS = 12  # of the sha256 of a prefix: enough that no two of a Milvus meet


@dataclass(frozen=True)
class Names:
    """Every name that a deployment uses, made from its prefix."""

    prefix: str = DEFAULT_PREFIX

    @property
    def profiles(self) -> str:
        return f"{self.prefix}profiles"

    @property
    def recommendations(self) -> str:
        return f"{self.prefix}recommendations"

    @property
    def dead_letters(self) -> str:
        return f"{self.prefix}dead-letters"

    @property
    def redriven(self) -> str:
        return f"{self.prefix}redriven"

    @property
    def release_commands(self) -> str:
        return f"{self.prefix}release-commands"

    @property
    def releases(self) -> str:
        return f"{self.prefix}releases"

    @property
    def withdrawals(self) -> str:
        return f"{self.prefix}withdrawals"

    @property
    def feedback(self) -> str:
        return f"{self.prefix}feedback"

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic of the deployment."""
        # Here: the table names its columns after the properties above, and holds every model of the wire.
        from schemas.topics import TOPICS

        return tuple(topic.name_in(self) for topic in TOPICS)

    @property
    def outcomes(self) -> str:
        return f"{self.prefix}outcomes"

    @property
    def outcomes_group(self) -> str:
        return f"{self.prefix}outcomes"

    @property
    def outcomes_transactional_id(self) -> str:
        """One for the deployment: of two outcomes workers at a time, the later one fences the earlier."""
        return f"{self.prefix}outcomes"

    @property
    def worker_group(self) -> str:
        return f"{self.prefix}worker"

    @property
    def indexer_group(self) -> str:
        return f"{self.prefix}indexer"

    def worker_transactional_id(self, worker_id: str) -> str:
        return f"{self.worker_group}.{worker_id}"

    def indexer_transactional_id(self, indexer_id: str) -> str:
        return f"{self.indexer_group}.{indexer_id}"

    @property
    def redrive_transactional_id(self) -> str:
        """One for the deployment: of two redrives at a time, the later one fences the earlier."""
        return f"{self.prefix}redrive"

    @property
    def collection_prefix(self) -> str:
        """The prefix as Milvus takes it: letters, digits and underscores, not beginning with a digit.

        `shop.`, `shop-` and `shop_` would all be `shop_`, so the digest of the prefix comes first. No form begins another:
        the digests have one length, and `marquee_` has letters that none of them has.
        """
        if self.prefix == DEFAULT_PREFIX:
            return self.plain_prefix
        digest = hashlib.sha256(self.prefix.encode()).hexdigest()[:_DIGEST_DIGITS]
        return f"m{digest}_{_plain(self.prefix)}"

    @property
    def plain_prefix(self) -> str:
        """The form of earlier indexers, which several prefixes share."""
        name = _plain(self.prefix)
        return f"_{name}" if name[:1].isdigit() else name

    def collection(self, release: str, attempt: int) -> str:
        """The collection that the given attempt at indexing a release builds."""
        return f"{self.collection_prefix}{_plain_release(release)}_{attempt}"

    def is_collection_of(self, release: str, collection: str) -> bool:
        """Whether an attempt at indexing the release builds, or once built, a collection of that name."""
        attempt = self.attempt_at(collection)
        return attempt is not None and attempt[0] == _plain_release(release)

    def attempt_at(self, collection: str) -> tuple[str, int] | None:
        """Release, as Milvus takes it, and attempt of a collection whose name this prefix gives, or once gave."""
        for prefix in (self.collection_prefix, self.plain_prefix):
            release, _, attempt = collection.removeprefix(prefix).rpartition("_")
            if collection.startswith(prefix) and attempt.isdecimal() and release:
                return release, int(attempt)
        return None

    @property
    def active_alias(self) -> str:
        """The Milvus alias kept for people; nothing of ours searches through it."""
        return f"{self.collection_prefix}active"

    @property
    def plain_alias(self) -> str:
        """The alias of earlier indexers, which several prefixes share."""
        return f"{self.plain_prefix}active"


def _plain(prefix: str) -> str:
    return re.sub(r"\W", "_", prefix, flags=re.ASCII)


def _plain_release(release: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "_", release)
