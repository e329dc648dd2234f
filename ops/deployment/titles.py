"""What the active release knows of the movies that a person names."""

from collections.abc import Mapping, Sequence

from schemas.errors import MarqueeError
from schemas.settings import Settings

CALL_SECONDS = 15.0


def titles(settings: Settings) -> Mapping[int, str] | None:
    """Titles by id, of the active release; None where there is none, or it is not in the store."""
    from worker.kafka.records import read_releases
    from worker.release.store import ReleaseStore

    active = read_releases(settings, CALL_SECONDS).active
    if active is None:
        return None
    try:
        catalogue = ReleaseStore(settings.store).catalogue(active.release)
    except MarqueeError:
        return None
    return dict(zip(catalogue.movie_ids.tolist(), catalogue.titles, strict=True))


def unknown(known: Mapping[int, str] | None, ids: Sequence[int]) -> list[int]:
    """The ids that are not known; without anything to look them up in, none."""
    return [] if known is None else [id_ for id_ in dict.fromkeys(ids) if id_ not in known]
