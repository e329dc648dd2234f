"""From a network to a release: programs in this Paddle's format, weights, catalogue, vocabularies, manifest."""

import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ops.training.fusion import Fusion
from ops.training.sequence import FIRST_WEIGHTS, SIZES, SequenceModel
from schemas.manifest import (
    CATALOGUE_FILE,
    PARAMETERS_SUFFIX,
    PROGRAM_SUFFIX,
    VOCABULARIES_FILE,
    WEIGHTS_FILE,
    Data,
    Manifest,
    TensorInput,
    Tower,
    Towers,
)
from worker.errors import ReleaseError, UnreadableReleaseError
from worker.release.catalogue import Catalogue
from worker.release.features import Vocabularies
from worker.release.paddle_engine import NATIVE_FORMAT, VERSION, paddle
from worker.release.store import ReleaseStore

USER_TOWER, MOVIE_TOWER = "user_tower", "movie_tower"

Network = Fusion | SequenceModel


def network_of(manifest: Manifest, vocabularies: Vocabularies) -> Network:
    """The untrained network of a release, of the sizes it was trained with.

    Raises:
        UnreadableReleaseError: the model is one that this Marquee does not know, or was made of other parts.
    """
    if manifest.model == "fusion":
        return Fusion(vocabularies)
    if manifest.model == "sequence":
        shares = manifest.training.get("shares", [])
        if not manifest.training.keys() >= set(SIZES) or len(shares) != len(FIRST_WEIGHTS):
            raise UnreadableReleaseError(
                f"release {manifest.release} is of an older Marquee, whose sequence model had other heads: it serves on, "
                "but train it again to have it in another format"
            )
        sizes = {name: manifest.training[name] for name in SIZES}
        return SequenceModel(vocabularies, **sizes)
    raise UnreadableReleaseError(
        f"release {manifest.release} holds a model {manifest.model!r}, and this Marquee knows fusion, sequence: "
        "upgrade it"
    )


def write_release(
    store: ReleaseStore,
    model: str,
    network: Network,
    vocabularies: Vocabularies,
    catalogue: Catalogue,
    data: Data,
    training: dict[str, Any],
) -> Manifest:
    """Write a network as a new release, and give its manifest."""
    user_inputs, movie_inputs = network.input_specs(vocabularies)
    manifest = Manifest(
        release="",
        created_at=datetime.now(UTC),
        model=model,
        program_format=NATIVE_FORMAT,
        paddle_version=VERSION,
        dimension=network.dimension,
        metric=network.metric,
        score_scale=network.score_scale,
        stars=network.stars,
        movies=len(catalogue),
        towers=Towers(user=_tower(USER_TOWER, user_inputs), movie=_tower(MOVIE_TOWER, movie_inputs)),
        files={},
        data=data,
        training=training,
    )
    with tempfile.TemporaryDirectory(prefix="marquee-release-") as scratch:
        folder = Path(scratch)
        network.eval()
        # The user tower takes one list of inputs: jit.save refuses a forward with any number of arguments.
        _save_tower(network.user, folder / USER_TOWER, [_specs(user_inputs)])
        _save_tower(network.movie, folder / MOVIE_TOWER, _specs(movie_inputs))
        paddle.save(network.state_dict(), str(folder / WEIGHTS_FILE))
        catalogue.write(folder / CATALOGUE_FILE)
        (folder / VOCABULARIES_FILE).write_text(vocabularies.model_dump_json())
        return store.write(manifest, folder)


def export_release(store: ReleaseStore, release: str) -> Manifest:
    """Write the same model as a new release in this Paddle's program format, from the weights of `release`.

    Raises:
        UnreadableReleaseError: the model is one that this Marquee does not know.
        ReleaseError: the release is missing or corrupt, or was written without weights.
    """
    manifest = store.manifest(release)
    if WEIGHTS_FILE not in manifest.files:
        raise ReleaseError(
            f"release {release} has no {WEIGHTS_FILE}: train it again to have it in another format"
        )
    folder = store.fetch(manifest)
    vocabularies = Vocabularies.model_validate_json((folder / VOCABULARIES_FILE).read_bytes())
    network = network_of(manifest, vocabularies)
    network.set_state_dict(paddle.load(str(folder / WEIGHTS_FILE)))
    catalogue = Catalogue.read(folder / CATALOGUE_FILE)
    training = manifest.training | {"exported_from": release}
    return write_release(store, manifest.model, network, vocabularies, catalogue, manifest.data, training)


def _tower(name: str, inputs: list[TensorInput]) -> Tower:
    return Tower(
        program=name + PROGRAM_SUFFIX[NATIVE_FORMAT], parameters=name + PARAMETERS_SUFFIX, inputs=inputs
    )


def _specs(inputs: list[TensorInput]) -> list[Any]:
    return [paddle.static.InputSpec(spec.shape, spec.dtype, spec.name) for spec in inputs]


def _save_tower(tower: Any, path: Path, specs: list[Any]) -> None:
    with warnings.catch_warnings():
        # 3.x reads every attribute of a layer that it translates, and warns of missing ones.
        warnings.simplefilter("ignore")
        paddle.jit.save(tower, str(path), input_spec=specs)
    # 2.6 writes names of parameters beside them, which only paddle.jit.load reads.
    path.with_suffix(f"{PARAMETERS_SUFFIX}.info").unlink(missing_ok=True)
