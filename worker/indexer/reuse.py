"""Vectors that need not be made again: those of the release that another one extends, with the same towers."""

import logging

from schemas.manifest import CATALOGUE_FILE, VOCABULARIES_FILE, Manifest
from schemas.releases import ReleasesView
from worker.errors import ReleaseError
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore
from worker.release.vectors import KnownVectors

log = logging.getLogger(__name__)


def known_vectors(store: ReleaseStore, manifest: Manifest, view: ReleasesView) -> KnownVectors | None:
    """Those of the release that this one extends; None where there is none, or they cannot be read: all are made then."""
    if manifest.extends is None:
        return None
    record = view.releases.get(manifest.extends)
    if record is None or record.vectors_sha256 is None:
        log.info("release %s was not indexed here: its movies are embedded again", manifest.extends)
        return None
    try:
        before = store.manifest(manifest.extends)
        if not _same_tower(before, manifest):
            log.warning("release %s has another movie tower than %s", manifest.extends, manifest.release)
            return None
        movie_ids = Catalogue.read_ids(store.fetch(before, [CATALOGUE_FILE]) / CATALOGUE_FILE)
        return KnownVectors(movie_ids, store.read_vectors(manifest.extends, record.vectors_sha256))
    except ReleaseError as error:
        log.warning("embedding all movies: %s", error)
        return None


def _same_tower(one: Manifest, other: Manifest) -> bool:
    """Whether both embed a movie alike: by the bytes of tower and vocabularies."""

    def files(manifest: Manifest) -> list[object]:
        tower = manifest.towers.movie
        return [manifest.files[name] for name in (tower.program, tower.parameters, VOCABULARIES_FILE)]

    return files(one) == files(other)
