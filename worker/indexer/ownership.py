"""The collections of this deployment: each carries its owner, and the sweep drops those that are no longer needed."""

import hashlib
import logging
from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas import kafka
from schemas.errors import UnreachableError
from schemas.releases import ReleasesView
from schemas.settings import Settings
from worker.errors import MilvusError
from worker.indexer.retention import named_collections
from worker.retrieval.index import IndexStore

log = logging.getLogger(__name__)

_CLUSTER_SECONDS = 10.0
_TAG_DIGITS = 8


def owner_of(settings: Settings, timeout_s: float = _CLUSTER_SECONDS) -> str:
    """The owner that this deployment's collections carry: `<cluster id>|<prefix>`.

    Raises:
        UnreachableError: Kafka did not return its cluster id.
    """
    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    try:
        cluster = admin.list_topics(timeout=timeout_s).cluster_id
    except KafkaException as error:
        raise UnreachableError(
            f"Kafka at {settings.kafka.bootstrap_servers} did not return its cluster id within {timeout_s:g} s "
            f"({error.args[0].str()}); start it, or set MARQUEE_KAFKA__BOOTSTRAP_SERVERS to where it is"
        ) from None
    return f"{cluster or ''}|{settings.prefix}"


class Ownership:
    """Marks the collections of this deployment, and drops no other."""

    def __init__(self, settings: Settings, milvus: IndexStore) -> None:
        self._settings = settings
        self._milvus = milvus
        self._owner: str | None = None
        self._logged: set[str] = set()

    @property
    def owner(self) -> str:
        """Raises as `owner_of`, until Kafka has answered once."""
        if self._owner is None:
            self._owner = owner_of(self._settings)
        return self._owner

    @property
    def tag(self) -> str:
        """A short hash of the owner, for names of files that only this deployment removes."""
        return hashlib.sha256(self.owner.encode()).hexdigest()[:_TAG_DIGITS]

    def adopt(self, view: ReleasesView, existing: Iterable[str]) -> None:
        """Mark collections that our records name and that carry no owner: older indexers marked none."""
        for collection in sorted(named_collections(view) & set(existing)):
            found = self._milvus.owner(collection)
            if found == "":
                self._mark(collection)
            elif found not in (None, self.owner):
                self._warn_once(f"{collection} is of {found}, although a record here names it")

    def drop(self, collection: str) -> bool:
        """Drop a collection if it carries our owner, which is read right before; False if it does not.

        Raises:
            MilvusError: Milvus is away.
        """
        found = self._milvus.owner(collection)
        if found is None:
            return True
        if found != self.owner:
            self._warn_once(f"{collection} is left alone: its owner is {found or 'not marked on it'}")
            return False
        names = self._settings.names
        if not collection.startswith(names.collection_prefix):
            self._milvus.drop_alias(names.plain_alias, collection)
        self._milvus.drop(collection)
        return True

    def _mark(self, collection: str) -> None:
        try:
            self._milvus.mark(collection, self.owner)
        except MilvusError as error:  # the collection serves without a mark, and is never dropped
            self._warn_once(f"{collection} cannot be marked as ours: {error}")
        else:
            log.info("marked %s as of %s", collection, self.owner)

    def _warn_once(self, message: str) -> None:
        """Log a message at its first sweep only; a sweep runs every minute."""
        if message not in self._logged:
            self._logged.add(message)
            log.warning("%s", message)
