"""Names on Kafka and Milvus. All take one prefix, so that two deployments can share both."""

import re
from dataclasses import dataclass

DEFAULT_PREFIX = "marquee."
DEFAULT_PARTITIONS = (
    12  # of profiles, when Marquee creates it: divides evenly by 1, 2, 3, 4, 6 and 12 workers
)


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
        from schemas.topic_table import TOPICS

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
        """The prefix as Milvus takes it: letters, digits and underscores, not beginning with a digit."""
        name = re.sub(r"\W", "_", self.prefix, flags=re.ASCII)
        return f"_{name}" if name[:1].isdigit() else name

    def collection(self, release: str, attempt: int) -> str:
        """The collection that the given attempt at indexing a release builds."""
        return f"{self.collection_prefix}{re.sub(r'[^0-9A-Za-z]', '_', release)}_{attempt}"

    def is_collection_of(self, release: str, collection: str) -> bool:
        """Whether an attempt at indexing the release builds a collection of that name."""
        stem, _, attempt = collection.rpartition("_")
        return attempt.isdecimal() and f"{stem}_0" == self.collection(release, 0)

    @property
    def active_alias(self) -> str:
        """The Milvus alias kept for people; nothing of ours searches through it."""
        return f"{self.collection_prefix}active"
