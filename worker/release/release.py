"""A loaded release: its towers, catalogue and vocabularies, ready to embed."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.manifest import CATALOGUE_FILE, VOCABULARIES_FILE, Manifest
from schemas.profile import ProfileEvent
from worker.release.catalogue import Catalogue
from worker.release.features import RECENT, Features, Unknowns, Vocabularies, embed_by_length
from worker.release.tower import Device, Tower
from worker.release.vectors import KnownVectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A model with its catalogue; several threads may embed."""

    manifest: Manifest
    folder: Path
    features: Features
    user_tower: Tower
    movie_tower: Tower

    @cached_property
    def catalogue(self) -> Catalogue:
        """The whole catalogue. The indexer reads it batch by batch instead."""
        return Catalogue.read(self.folder / CATALOGUE_FILE)

    @property
    def movie_ids(self) -> NDArray[np.int64]:
        """The catalogue's movies, int64 [movies], in its order."""
        return Catalogue.read_ids(self.folder / CATALOGUE_FILE)

    def embedded_movies(
        self, batch: int, known: KnownVectors | None = None
    ) -> Iterator[tuple[Catalogue, NDArray[np.float32]]]:
        """The catalogue from its first row to its last, up to `batch` rows at a time, each part with its vectors.

        Vectors of `known` are taken from there, and not embedded.
        """
        for movies in Catalogue.batches(self.folder / CATALOGUE_FILE, batch):
            yield movies, self._embed(movies) if known is None else self._embed_others(movies, known)

    def embed_profiles(self, events: Sequence[ProfileEvent]) -> NDArray[np.float32]:
        """Vectors of n events, float32 [n, dimension]."""
        tower = self.user_tower
        inputs = self.features.profiles(events, tower.inputs)
        if RECENT in inputs:
            return embed_by_length(tower.embed, inputs, tower.dimension)
        return tower.embed(inputs)

    def embed_movies(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of the catalogue's rows from `start` up to `stop`, float32 [stop - start, dimension]."""
        return self._embed(self.catalogue.rows(start, stop))

    def _embed_others(self, movies: Catalogue, known: KnownVectors) -> NDArray[np.float32]:
        mask, vectors = known.of(movies.movie_ids)
        all_vectors = np.empty((len(movies), self.manifest.dimension), np.float32)
        all_vectors[mask] = vectors
        if not mask.all():
            all_vectors[~mask] = self._embed(movies.take(~mask))
        return all_vectors

    def _embed(self, movies: Catalogue) -> NDArray[np.float32]:
        return self.movie_tower.embed(self.features.movies(movies, self.movie_tower.inputs))

    def unknowns(self, events: Sequence[ProfileEvent]) -> Unknowns:
        """Count the users and movies of events that the release does not know."""
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
    features = Features(vocabularies)
    for tower in (user_tower, movie_tower):
        tower.watch(features.sentinels(tower.inputs))
    logger.info("release %s loaded, towers on the %s", manifest.release, user_tower.device)
    return Release(manifest, folder, features, user_tower, movie_tower)
