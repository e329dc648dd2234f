"""The sequence model: its inputs, its training, and a run that is continued. Paddle 2.6 and 3.3."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ops.data.movielens import MovieLens, load
from ops.evaluation.holdout import hold_out
from schemas.profile import ProfileEvent
from tests.testbed.releases import small_sequence
from worker.release.features import LENGTHS, RUN_MOVIES, Features, Vocabularies, embed_by_length
from worker.release.release import Release
from worker.release.store import ReleaseStore

pytestmark = pytest.mark.paddle

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def data(generated_data: Path) -> MovieLens:
    return load(generated_data)


@pytest.fixture(scope="module")
def release(sequence_store: str) -> Release:
    store = ReleaseStore(sequence_store)
    return store.load(store.names()[0])


def test_histories_of_unlike_lengths_go_through_the_tower_with_their_like() -> None:
    # Given a tower that keeps its inputs, and returns the sum of each history
    shapes = []

    def embed(inputs: object) -> np.ndarray:
        recent = inputs["recent"]  # type: ignore[index]
        shapes.append(recent.shape)
        return np.asarray(recent.sum(axis=1, keepdims=True), np.float32)

    lengths = [0, 200, 3, 1, 9, 200, 0, 64] + [200] * 100
    recent = np.zeros((len(lengths), 200), np.int64)
    for row, length in zip(recent, lengths, strict=True):
        row[:length] = np.arange(1, length + 1)

    vectors = embed_by_length(embed, {"recent": recent, "age": np.zeros(len(lengths), np.int64)}, 1)

    assert vectors[:, 0].tolist() == [length * (length + 1) / 2 for length in lengths]
    assert {width for _, width in shapes} == {1, 4, 16, 64, 200} <= set(LENGTHS)
    assert max(rows * width for rows, width in shapes) <= RUN_MOVIES


def test_an_event_alone_gets_the_vector_that_it_gets_among_others(release: Release) -> None:
    ids = release.catalogue.movie_ids.tolist()
    events = [
        ProfileEvent(),
        ProfileEvent(user_id=3, gender="F", age=30, occupation=4),
        ProfileEvent(recent=ids[:1]),
        ProfileEvent(gender="M", recent=ids[5:95]),
        ProfileEvent(recent=ids[:200]),
        ProfileEvent(recent=[*ids[:40], 10**9]),  # the last is not known
        ProfileEvent(recent=ids[:40]),
    ]

    together = release.embed_profiles(events)

    for event, vector in zip(events, together, strict=True):
        assert np.abs(release.embed_profiles([event])[0] - vector).max() < TOLERANCE
    assert np.abs(together[-1] - together[-2]).max() < TOLERANCE
    assert np.abs(together[2] - together[0]).max() > 1e-2


def test_nothing_is_learnt_from_what_comes_later(data: MovieLens) -> None:
    from ops.training.sequence import SequenceModel
    from worker.release.paddle_engine import paddle

    network = SequenceModel(Vocabularies.of([1], data.movies), dimension=16)
    network.eval()
    user, *profile = (paddle.to_tensor(np.array([1])) for _ in range(4))
    first_token = network.user.next.first_token(user, profile)

    def states(recent: list[int]) -> np.ndarray:
        rows = paddle.to_tensor(np.array([recent]))
        watched = paddle.to_tensor(np.random.default_rng(0).random((300, 16)).astype(np.float32))[recent]
        return np.asarray(network.user.next.all_positions(first_token, watched.unsqueeze(0), rows).numpy()[0])

    one, other = states([5, 9, 7, 3]), states([5, 9, 8, 2])
    assert np.abs(one[:3] - other[:3]).max() < TOLERANCE
    assert np.abs(one[3] - other[3]).max() > 1e-3


def test_beats_popularity_on_the_tastes_that_were_planted(sequence_store: str, data: MovieLens) -> None:
    from ops.evaluation.evaluate import Evaluator
    from ops.evaluation.holdout import Source
    from ops.training.train import Resuming, train_alike

    store = ReleaseStore(sequence_store)
    source = Source(data, Path(), "leave-one-out")

    evaluation = Evaluator(
        store, source, partial(train_alike, source=source, store=store, resuming=Resuming(Path()))
    ).evaluate(store.names()[0])

    # The whole interval of the difference, over the same people, is above zero.
    protocol = next(iter(evaluation.protocols.values()))
    for baseline in ("popularity", "popularity, gender x age"):
        above = protocol.differences[baseline]["leave_one_out.ndcg@10"]
        assert above.low is not None
        assert above.low > 0, baseline


def test_a_release_of_it_says_what_it_is(release: Release) -> None:
    manifest = release.manifest

    assert (manifest.model, manifest.metric, manifest.score_scale, manifest.stars) == (
        "sequence",
        "IP",
        1.0,
        None,
    )
    assert manifest.towers.user.inputs[-1].name == "recent"
    assert manifest.towers.user.inputs[-1].shape == [-1, -1]
    assert sum(entry.size for entry in manifest.files.values()) < 5_000_000


def test_a_movie_that_nobody_rated_stands_where_its_content_puts_it(data: MovieLens, tmp_path: Path) -> None:
    from ops.training.next_movie import NextMovie

    holdout = hold_out(data, tmp_path, "cold-movies")
    features = Features(Vocabularies.of([], data.movies))
    course = NextMovie(data, holdout, features, small_sequence())
    next(course.epoch(0))

    network = course.serve(course.weights())

    ids = network.movie.next.movie.weight.numpy()[1:]
    assert holdout.cold is not None
    assert (ids[holdout.cold] == network.movie.next.movie.weight.numpy()[0]).all()
    table = network.user.next.table.numpy()
    assert np.abs(table[0]).max() == 0
    cold = table[1:][holdout.cold]
    assert len(np.unique(cold, axis=0)) > 0.9 * len(cold)  # not all in one place


def test_a_run_that_was_cut_off_comes_out_as_one_that_was_not(data: MovieLens, tmp_path: Path) -> None:
    from ops.evaluation.holdout import Source
    from ops.training.devices import use_threads
    from ops.training.train import Resuming, train_sequence

    use_threads(1)
    source, hyper = Source(data, tmp_path), small_sequence(epochs=2, dimension=8)

    def train(store: str, resuming: Resuming, cut_at: float = 2.0) -> dict[str, np.ndarray]:
        from worker.release.paddle_engine import paddle

        def cut_off(progress: object) -> None:
            if progress.share > cut_at:  # type: ignore[attr-defined]
                raise ConnectionAbortedError

        manifest = train_sequence(
            source, ReleaseStore(store), hyper, resuming=resuming, report=cut_off
        ).manifest
        return dict(paddle.load(str(Path(store) / manifest.release / "weights.pdparams"), return_numpy=True))

    whole = train(str(tmp_path / "whole"), Resuming(tmp_path / "c"))
    with pytest.raises(ConnectionAbortedError):
        train(str(tmp_path / "cut"), Resuming(tmp_path / "c"), cut_at=0.6)
    kept = list((tmp_path / "c").iterdir())
    resumed = train(str(tmp_path / "cut"), Resuming(tmp_path / "c", resume=True))

    assert len(kept) == 1  # of the first epoch
    assert whole.keys() == resumed.keys()
    for name, weights in whole.items():
        assert np.array_equal(weights, resumed[name]), name


def test_another_configuration_does_not_go_on_from_a_checkpoint_that_is_not_its_own(tmp_path: Path) -> None:
    from ops.training.loop import Checkpoints

    Checkpoints(tmp_path, {"seed": 0}, resume=False).write({"epoch": 3})

    assert Checkpoints(tmp_path, {"seed": 0}, resume=True).read() == {"epoch": 3}
    assert Checkpoints(tmp_path, {"seed": 0}, resume=False).read() is None
    assert Checkpoints(tmp_path, {"seed": 1}, resume=True).read() is None
