"""The parts of the sequence model's vectors: what each is asked, and how much validation lets it count. Paddle 2.6 and 3.3."""

from pathlib import Path

import numpy as np
import pytest

from ops.data.movielens import load
from ops.evaluation.holdout import Case, Source, hold_out
from ops.training.closed_form import fit_kin
from ops.training.continuing import take_over
from ops.training.export import network_of
from ops.training.head_weights import best_weights, shortened
from ops.training.next_movie import HEAD_WEIGHTS
from ops.training.sequence import SequenceModel
from ops.training.tastes import SITTINGS_APART, sittings_of
from ops.training.train import train_sequence
from tests.testbed.releases import small_sequence
from worker.errors import UnreadableReleaseError
from worker.release.catalogue import Catalogue
from worker.release.features import Features, Vocabularies
from worker.release.paddle_engine import paddle
from worker.release.store import ReleaseStore

pytestmark = pytest.mark.paddle

NOTHING = np.empty(0, np.int64)
MOVIES = 40


def case(wanted: int, recent: tuple[int, ...] = ()) -> Case:
    seen = np.array(recent, np.int64)
    return Case(0, seen, seen, np.array([wanted]))


def telling(cases: list[Case], right: list[bool]) -> np.ndarray:
    """Scores that put what is wanted first where they are right, and last elsewhere."""
    scores = np.random.default_rng(1).random((len(cases), MOVIES)).astype(np.float32)
    for row, one, hit in zip(scores, cases, right, strict=True):
        row[one.wanted] = 2.0 if hit else -2.0
    return scores


def test_each_part_counts_where_validation_finds_it_right() -> None:
    # Given people without a history, of whom `liked` knows what they want, with one movie (`later`), a few (`next`), and more
    cases = [case(3), case(7), case(5, (1,)), case(9, (4,)), case(6, (1, 2)), case(8, (1, 2, 3, 4, 5))]
    following = telling(cases, [False, False, False, False, True, False])
    later, liked = (
        telling(cases, [False, False, True, True, False, True]),
        telling(cases, [True, True, False, False, False, False]),
    )

    (without, one, few, more), figures = best_weights([following, later, liked, following], cases)

    assert figures.tolist() == [1.0] * 6
    assert without == [0.0, 0.0, 1.0, 0.0]
    assert one[1] > one[0]
    assert few[0] > few[1]
    assert more[1] > more[0]


def test_who_has_told_little_gets_as_much_kin_as_costs_no_more_than_a_standard_error() -> None:
    def shares(movies: int, wrong: int) -> tuple[list[list[float]], float]:
        """Of 400 people with so many movies half are right by `next`, `wrong` of them until `kin` has more than 0.1."""
        cases = [case(39, tuple(range(movies))) for _ in range(400)]
        following, kin = np.zeros((2, len(cases), MOVIES), np.float32)
        kin[:, 20:32] = 1.0
        following[:200, 39] = 0.42
        following[:wrong, 39] = 0.12
        following[200:, 20:32] = 1.0
        chosen, figures = best_weights([following, following, np.zeros_like(following), kin], cases)
        return chosen, float(figures.mean())

    # One of 400 is less than a standard error, which is 0.025 here.
    few, figure = shares(3, wrong=1)
    assert few[2][3] == 0.4
    assert figure == 199 / 400
    more, figure = shares(5, wrong=1)
    assert more[3][3] == 0.0
    assert figure == 200 / 400

    # A hundred are more.
    few, figure = shares(3, wrong=100)
    assert few[2][3] == 0.1
    assert figure == 200 / 400


def test_who_has_few_movies_is_who_had_more_but_for_the_last() -> None:
    cases = [case(9, (1, 2, 3, 4)), case(8, (1,)), case(7, (6, 5)), case(3)]

    short = shortened(cases)

    assert [one.recent.tolist() for one in short] == [[4], [5], [2, 3, 4]]
    assert [one.wanted.tolist() for one in short] == [[9], [7], [9]]
    assert [one.seen.tolist() for one in short] == [[1, 2, 3, 4], [6, 5], [1, 2, 3, 4]]
    assert not any(one.named for one in short)


def test_the_next_movie_is_not_asked_of_who_has_no_history() -> None:
    cases = [case(3), case(7)]
    right, wrong = telling(cases, [True, True]), telling(cases, [False, False])

    (without, *with_history), figures = best_weights([right, wrong, wrong, wrong], cases)

    assert without[0] == 0.0
    assert figures.mean() < 1.0
    assert with_history == [[1.0, 0.0, 0.0, 0.0]] * 3  # there is nobody to choose by


def test_the_length_of_a_history_chooses_the_weights() -> None:
    kinds = [["Drama"], ["Comedy"]]
    catalogue = Catalogue.of({number: (f"Movie {number} (1990)", kinds[number % 2]) for number in range(30)})
    features = Features(Vocabularies.of([], catalogue))
    network = SequenceModel(features.vocabularies, dimension=8, later=4, liked=2, kin=2)
    movies = features.movies(catalogue, ["movie_id", "genres", "title", "year"])
    fit_kin(network, movies)
    network.settle(movies, np.ones(30, bool))
    network.eval()
    shares = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]], np.float32)
    network.user.shares.set_value(shares)
    lengths = [0, 1, 2, 4, 5, 25]
    recent = np.array([[1, 3, 5, 7, 9] * 5] * len(lengths))
    recent[np.arange(25) >= np.array(lengths)[:, None]] = 0
    inputs = [*([np.zeros(len(lengths), np.int64)] * 4), recent]

    vectors = network.user([*map(paddle.to_tensor, inputs)]).numpy()

    counting = [np.abs(part).sum(axis=1) > 0 for part in np.split(vectors, [8, 12, 14], axis=1)]
    expected = shares[[0, 1, 2, 2, 3, 3]].astype(bool)
    expected[0, 3] = False  # nothing is kin to no history
    assert np.stack(counting, axis=1).tolist() == expected.tolist()


def test_a_release_with_fewer_weights_can_be_continued_and_not_exported(
    generated_data: Path, tmp_path: Path
) -> None:
    store = ReleaseStore(str(tmp_path / "store"))
    source = Source(load(generated_data), generated_data)
    manifest = train_sequence(source, store, small_sequence()).manifest
    vocabularies = store.load(manifest.release, device="cpu").features.vocabularies
    older = manifest.training | {"shares": manifest.training["shares"][:3]}

    with pytest.raises(UnreadableReleaseError, match="older Marquee"):
        network_of(manifest.model_copy(update={"training": older}), vocabularies)

    network = network_of(manifest, vocabularies)
    weights = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    take_over(
        network, weights | {HEAD_WEIGHTS: weights[HEAD_WEIGHTS][:3]}
    )  # validation chooses all of them anew
    assert network.user.shares.shape == [4, 4]


def test_a_sitting_begins_after_a_day_away() -> None:
    day = SITTINGS_APART
    assert sittings_of(np.array([0, 10, 10 + day, 20 + day, 20 + 3 * day])).tolist() == [2, 4]
    assert sittings_of(np.array([5])).tolist() == []


def test_heads_without_order_are_trained_before_the_head_next(generated_data: Path, tmp_path: Path) -> None:
    from ops.training.next_movie import NextMovie

    data = load(generated_data)
    course = NextMovie(
        data, hold_out(data, tmp_path, "all"), Features(Vocabularies.of([], data.movies)), small_sequence()
    )

    def weights() -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in course.network.named_parameters()}

    start = weights()
    steps = course.epoch(0)
    next(steps)
    once = weights()
    list(steps)
    first_epoch = weights()
    list(course.epoch(1))
    second_epoch = weights()

    def changed(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> set[str]:
        """Heads with a changed weight."""
        return {name.split(".")[1] for name in one if not np.array_equal(one[name], other[name])}

    assert changed(start, once) == {"later"}
    assert changed(start, first_epoch) == {"next", "later"}
    assert changed(first_epoch, second_epoch) == {"next"}
