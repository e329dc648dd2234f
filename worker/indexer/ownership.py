"""Whose a collection is: each carries the cluster and the prefix of the deployment that made it, and only that drops it."""

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
from worker.retrieval.milvus import Milvus

log = logging.getLogger(__name__)

_CLUSTER_SECONDS = 10.0
_TAG_DIGITS = 8


def owner_of(settings: Settings, timeout_s: float = _CLUSTER_SECONDS) -> str:
    """The owner that this deployment's collections carry: `<cluster id>|<prefix>`.

    Raises:
        UnreachableError: Kafka did not say which cluster it is.
    """
    admin = AdminClient(kafka.admin(settings.kafka, {"log_level": 0}))
    try:
        cluster = admin.list_topics(timeout=timeout_s).cluster_id
    except KafkaException as error:
        raise UnreachableError(
            f"Kafka at {settings.kafka.bootstrap_servers} did not say which cluster it is within {timeout_s:g} s "
            f"({error.args[0].str()}); start it, or set MARQUEE_KAFKA__BOOTSTRAP_SERVERS to where it is"
        ) from None
    return f"{cluster or ''}|{settings.prefix}"


class Ownership:
    """Marks the collections of this deployment, and drops no other. Kafka is asked once who we are, when that is needed."""

    def __init__(self, settings: Settings, milvus: Milvus) -> None:
        self._settings = settings
        self._milvus = milvus
        self._owner: str | None = None
        self._told: set[str] = set()  # collections that the log has named already

    @property
    def owner(self) -> str:
        """Raises as `owner_of`."""
        if self._owner is None:
            self._owner = owner_of(self._settings)
        return self._owner

    @property
    def tag(self) -> str:
        """The owner in a few letters, for names of files that only this deployment removes."""
        return hashlib.sha256(self.owner.encode()).hexdigest()[:_TAG_DIGITS]

    def adopt(self, view: ReleasesView, there: Iterable[str]) -> None:
        """Mark what our records name and no owner is marked on: indexers of before marked nothing."""
        for collection in sorted(named(view) & set(there)):
            found = self._milvus.owner(collection)
            if found == "":
                self._mark(collection)
            elif found not in (None, self.owner):
                self._tell(f"{collection} is of {found}, although a record here names it")

    def drop(self, collection: str) -> bool:
        """Drop a collection if it is ours, which is read back right before; one that is gone is as good.

        Raises:
            MilvusError: Milvus is away.
        """
        found = self._milvus.owner(collection)
        if found is None:
            return True
        if found != self.owner:
            self._tell(f"{collection} is left alone: its owner is {found or 'not marked on it'}")
            return False
        names = self._settings.names
        if not collection.startswith(names.collection_prefix):
            self._milvus.drop_alias(names.plain_alias, collection)
        self._milvus.drop(collection)
        return True

    def _mark(self, collection: str) -> None:
        try:
            self._milvus.mark(collection, self.owner)
        except MilvusError as error:  # without a mark it is served, and never dropped
            self._tell(f"{collection} cannot be marked as ours: {error}")
        else:
            log.info("marked %s as of %s", collection, self.owner)

    def _tell(self, news: str) -> None:
        """Say it once: cleaning up comes every minute."""
        if news not in self._told:
            self._told.add(news)
            log.warning("%s", news)


def named(view: ReleasesView) -> set[str]:
    """The collections that records of `releases` name."""
    records = [*view.releases.values(), view.active, view.trial]
    return {record.collection for record in records if record and record.collection}
