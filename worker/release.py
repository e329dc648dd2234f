"""A loaded release: its towers, catalogue and vocabularies, ready to embed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import CATALOGUE_FILE, VOCABULARIES_FILE, Manifest
from schemas.profile import ProfileEvent
from worker.catalogue import Catalogue
from worker.features import Features, Unknowns, Vocabularies
from worker.history import RECENT, embed_by_length
from worker.tower import Device, Tower

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """Everything that embedding takes. One thread at a time may embed."""

    manifest: Manifest
    catalogue: Catalogue
    features: Features
    user_tower: Tower
    movie_tower: Tower

    def embed_profiles(self, events: Sequence[ProfileEvent]) -> NDArray[np.float32]:
        """Vectors of n events, float32 [n, dimension]."""
        tower = self.user_tower
        inputs = self.features.profiles(events, tower.inputs)
        if RECENT in inputs:
            return embed_by_length(tower.embed, inputs, tower.dimension)
        return tower.embed(inputs)

    def embed_movies(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of the catalogue's rows from `start` up to `stop`, float32 [stop - start, dimension]."""
        movies = self.catalogue.rows(start, stop)
        return self.movie_tower.embed(self.features.movies(movies, self.movie_tower.inputs))

    def unknowns(self, events: Sequence[ProfileEvent]) -> Unknowns:
        """How many users and movies the events name that the release does not know."""
        return self.features.unknowns(events)


def load_release(folder: Path, manifest: Manifest, device: Device, threads: int) -> Release:
    """Load a release whose files were checked before.

    Raises:
        UnreadableReleaseError: this Paddle cannot read the programs.
        SettingsError: `device` is gpu, and there is none.
    """
    user_tower = Tower(folder, manifest.towers.user, manifest, device, threads)
    movie_tower = Tower(folder, manifest.towers.movie, manifest, device, threads)
    vocabularies = Vocabularies.model_validate_json((folder / VOCABULARIES_FILE).read_bytes())
    logger.info("release %s loaded, towers on the %s", manifest.release, user_tower.device)
    return Release(
        manifest, Catalogue.read(folder / CATALOGUE_FILE), Features(vocabularies), user_tower, movie_tower
    )
