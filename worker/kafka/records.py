"""The compacted topic `releases`: read to its end, and followed."""

from schemas.releases import Change, ReleasesView
from schemas.settings import Settings
from worker.kafka.compacted import CompactedReader


class ReleasesReader(CompactedReader[Change]):
    """Keeps `view` up to date."""

    def __init__(self, settings: Settings) -> None:
        self.view = ReleasesView()
        super().__init__(settings, settings.names.releases, "releases", self.view.apply)


def read_releases(settings: Settings, timeout_s: float) -> ReleasesView:
    """The view as it is now.

    Raises:
        UnreachableError, SettingsError, FatalKafkaError: as `CompactedReader.read_to_end`.
    """
    reader = ReleasesReader(settings)
    try:
        reader.read_to_end(timeout_s)
        return reader.view
    finally:
        reader.close()
