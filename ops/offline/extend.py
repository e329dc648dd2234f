"""Extends a release by movies. The towers stay: a new movie is embedded from its content and the model's unknown id."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import MarqueeError
from schemas.manifest import CATALOGUE_FILE, Manifest
from worker.release.catalogue import Catalogue
from worker.release.store import ReleaseStore


class SameMovieError(MarqueeError):
    """The release has a movie already that was to be added."""


def extend_release(store: ReleaseStore, release: str, new: Catalogue) -> Manifest:
    """Write a release with the movies of `release` and the new ones, and return its manifest.

    Raises:
        SameMovieError: the release has one of them already.
        ReleaseError: the release is missing or corrupt, or the store cannot be written to.
    """
    manifest = store.manifest(release)
    folder = store.fetch(manifest)
    catalogue = _extended(release, Catalogue.read(folder / CATALOGUE_FILE), new)
    update = {
        "created_at": datetime.now(UTC),
        "movies": len(catalogue),
        "extends": release,
        "training": manifest.training | {"movies_added": len(new)},
    }
    with tempfile.TemporaryDirectory(prefix="marquee-release-") as scratch:
        for name in manifest.files:
            shutil.copy(folder / name, Path(scratch) / name)
        catalogue.write(Path(scratch) / CATALOGUE_FILE)
        return store.write(manifest.model_copy(update=update), Path(scratch))


def _extended(release: str, old: Catalogue, new: Catalogue) -> Catalogue:
    known = [id_ for id_ in new.movie_ids.tolist() if old.position(id_) is not None]
    if known:
        raise SameMovieError(
            f"release {release} has movie {', '.join(map(str, known[:10]))} already: a release does not change; leave it "
            "out, or train again to change it"
        )
    movies = {
        id_: (title, genres)
        for part in (old, new)
        for id_, title, genres in zip(part.movie_ids.tolist(), part.titles, part.genres, strict=True)
    }
    return Catalogue.of(movies)
