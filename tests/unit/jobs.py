"""Jobs whose records stay in memory, so that commands and builds run without servers."""

from schemas.releases import ReleasesView
from worker.indexer.job import Job, Records
from worker.monitoring.http import Health

OWNER = "cluster|marquee."


class DirectJob(Job):
    """A job whose records are in its view at once, and in `published`."""

    def __init__(self, view: ReleasesView | None = None) -> None:
        super().__init__("test", lambda _: None, view or ReleasesView(), Health())
        self.published: list[tuple[Records, bool]] = []

    def publish(self, records: Records, *, done: bool = False) -> None:
        self.check()
        self.published.append((records, done))
        for key, record in records.items():
            self.view.apply(key.encode(), record.model_dump_json().encode() if record else None)
