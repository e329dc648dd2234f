"""`marquee evaluate`: figures that can be had again by another way, kept where the check before activation looks."""

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ops.data.movielens import load
from ops.evaluation.holdout import hold_out
from ops.evaluation.recommend import Recommender
from ops.offline.release import OfflineRelease
from schemas.manifest import Evaluation
from schemas.profile import ProfileEvent
from schemas.settings import load_settings
from tests.testbed.releases import small_sequence
from worker.indexer.checks import CheckError, compare_evaluations
from worker.release.store import ReleaseStore


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    from ops.commands import evaluate

    app = typer.Typer()
    evaluate.register(app)
    return app


@pytest.fixture
def store(sequence_store: str, tmp_path: Path) -> ReleaseStore:
    """A store of the test's own, with a release that was trained for leave-one-out."""
    shutil.copytree(sequence_store, tmp_path / "store")
    return ReleaseStore(str(tmp_path / "store"))


def evaluated(
    app: typer.Typer, store: ReleaseStore, data: Path, *options: str, release: str | None = None
) -> dict[str, Any]:
    """The command's figures of a release, else of the store's only one."""
    release = release or store.names()[0]
    folders = ["--data", str(data), "--store", store.url, "--checkpoints", str(data / "checkpoints")]
    result = CliRunner().invoke(app, [release, *folders, "--json", *options])
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout))


def test_figures_are_those_of_the_lists_that_the_release_has(
    app: typer.Typer, store: ReleaseStore, generated_data: Path
) -> None:
    figures = evaluated(app, store, generated_data)

    # Given the place of each person's last movie, counted one by one
    data = load(generated_data)
    release = store.load(store.names()[0])
    movies = release.embed_movies(0, len(release.catalogue))
    gained, found = [], []
    for case in hold_out(data, generated_data, "leave-one-out").test:
        user, users = case.user, data.users
        event = ProfileEvent(
            user_id=int(users.ids[user]),
            gender=users.genders[user],
            age=int(users.ages[user]),
            occupation=int(users.occupations[user]),
            recent=data.movies.movie_ids[case.recent].tolist(),
        )
        scores = movies @ release.embed_profiles([event])[0]
        scores[case.seen] = -np.inf
        place = int((scores > scores[case.wanted[0]]).sum()) + 1
        gained.append(1 / np.log2(place + 1) if place <= 10 else 0.0)
        found.append(place <= 10)
    assert figures["leave_one_out.ndcg@10"] == pytest.approx(np.mean(gained), abs=1e-6)
    assert figures["leave_one_out.hr@10"] == pytest.approx(np.mean(found), abs=1e-6)
    assert figures["origin"] == "derived from the timestamps"


def test_an_event_excludes_what_was_seen_before_what_it_carries(
    store: ReleaseStore, generated_data: Path
) -> None:
    data = load(generated_data)
    recommender = Recommender(store.load(store.names()[0]), data)
    case = max(hold_out(data, generated_data, "leave-one-out").test, key=lambda case: len(case.seen))
    assert len(case.seen) > 12

    event = recommender.event(replace(case, recent=case.recent[-10:]))

    assert event.exclude == data.movies.movie_ids[case.seen[:-10]].tolist()
    assert recommender.event(case).exclude is None


def test_diverse_lists_are_measured_as_the_worker_would_make_them(
    app: typer.Typer, store: ReleaseStore, generated_data: Path
) -> None:
    figures = evaluated(app, store, generated_data)

    # Given what the worker's own code gives with the setting, and both distances pair by pair
    data = load(generated_data)
    release = store.load(store.names()[0])
    vectors = release.embed_movies(0, len(release.catalogue)).astype(np.float64)
    cases = hold_out(data, generated_data, "leave-one-out").test
    recommender = Recommender(release, data)
    for strength, begin in ((0.0, ""), (0.5, "diversity_50.")):
        settings = load_settings(store=store.url, worker={"diversity": strength})
        offline = OfflineRelease(settings, store.names()[0])
        lists = offline.recommend([recommender.event(case) for case in cases])
        gained, apart, apart_by_genres = [], [], []
        for case, movies in zip(cases, lists, strict=True):
            rows = [int(np.searchsorted(data.movies.movie_ids, movie.movie_id)) for movie in movies]
            place = rows.index(case.wanted[0]) + 1 if case.wanted[0] in rows else np.inf
            gained.append(1 / np.log2(place + 1))
            pairs = list(combinations(rows, 2))
            apart.append(np.mean([1 - cosine(vectors[one], vectors[other]) for one, other in pairs]))
            of = [set(data.movies.genres[row]) for row in rows]
            apart_by_genres.append(np.mean([1 - len(a & b) / len(a | b) for a, b in combinations(of, 2)]))
        # Neighbours within 1e-5 may swap.
        assert figures[f"leave_one_out.{begin}ndcg@10"] == pytest.approx(np.mean(gained), abs=2e-3)
        distances = [figures[f"leave_one_out.{begin}{name}_distance"] for name in ("intra_list", "genre")]
        assert distances == pytest.approx([np.mean(apart), np.mean(apart_by_genres)], abs=2e-3)
    by_strength = [figures[f"leave_one_out.diversity_{n}.intra_list_distance"] for n in (10, 30, 50, 70, 90)]
    assert by_strength == sorted(by_strength)
    assert by_strength[0] >= figures["leave_one_out.intra_list_distance"]
    assert (
        "MARQUEE_WORKER__DIVERSITY"
        in Path(store.url, "evaluations", f"{release.manifest.release}.html").read_text()
    )


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_says_whom_it_serves_and_how(app: typer.Typer, store: ReleaseStore, generated_data: Path) -> None:
    figures = evaluated(app, store, generated_data)

    assert {f"leave_one_out.last_{length}.ndcg@10" for length in range(1, 11)} < figures.keys()
    assert {f"leave_one_out.{name}" for name in ("coverage", "novelty", "gini")} < figures.keys()
    assert {"leave_one_out.gender_F.ndcg@10", "leave_one_out.age_25.hr@10"} < figures.keys()
    # Both genders together are everybody.
    protocol = Evaluation.model_validate(store.evaluation(store.names()[0])).protocols[
        "leave-one-out (derived)"
    ]
    parts = [protocol.figures[f"leave_one_out.gender_{gender}.ndcg@10"] for gender in "FM"]
    whole = protocol.figures["leave_one_out.ndcg@10"]
    assert sum(part.users for part in parts) == whole.users
    assert sum(part.users * part.value for part in parts) == pytest.approx(whole.users * whole.value)
    assert set(protocol.baselines) == {"popularity", "popularity, gender x age", "item-kNN", "biases"}


def test_what_is_kept_is_what_the_check_before_activation_reads(
    app: typer.Typer, store: ReleaseStore, generated_data: Path
) -> None:
    evaluated(app, store, generated_data)
    kept = store.evaluation(store.names()[0])
    assert kept is not None

    assert "2 evaluations not below" in compare_evaluations(kept, kept, 0.02)
    worse = json.loads(json.dumps(kept))
    worse["results"][0]["value"] *= 0.9
    with pytest.raises(CheckError, match="ndcg@10 on leave-one-out"):
        compare_evaluations(worse, kept, 0.02)

    page = Path(store.url, "evaluations", f"{store.names()[0]}.html").read_text()
    assert "<svg" in page
    assert "//" not in page  # nothing is loaded from anywhere


def test_for_another_split_one_of_the_same_configuration_is_trained_once(
    app: typer.Typer, generated_data: Path, tmp_path: Path
) -> None:
    from ops.evaluation.holdout import Source
    from ops.training.train import train_sequence

    store = ReleaseStore(str(tmp_path / "store"))
    hyper = small_sequence(epochs=1, dimension=8)
    release = train_sequence(Source(load(generated_data), generated_data), store, hyper).manifest.release

    fold = ("--split", "users", "--fold", "1")
    first = evaluated(app, store, generated_data, *fold, release=release)
    second = evaluated(app, store, generated_data, *fold, release=release)

    assert first == second
    assert len(store.names()) == 2
    like = store.manifest(str(first["trained"]))
    assert (like.training["like"], like.data.split, like.training["fold"]) == (release, "users", 1)
    assert (like.training["dimension"], like.training["epochs"]) == (8, 1)
    for name in (release, like.release):
        kept = Evaluation.model_validate(store.evaluation(name))
        assert [result.split for result in kept.results] == ["users, fold 1"] * 2


def test_a_release_that_learnt_everything_has_nothing_to_be_measured_on(
    app: typer.Typer, store: ReleaseStore, generated_data: Path
) -> None:
    release = store.names()[0]

    refused = CliRunner().invoke(
        app, [release, "--data", str(generated_data), "--store", store.url, "--split", "all"]
    )

    assert refused.exit_code == 2
    assert "holds out no data" in refused.output


def test_stars_of_the_fusion_model(
    app: typer.Typer, fusion_store: str, generated_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(fusion_store, tmp_path / "store")
    store = ReleaseStore(str(tmp_path / "store"))

    figures = evaluated(app, store, generated_data)

    trained = store.manifest(store.names()[0]).training["rmse_stars"]
    assert figures["random.rmse"] == pytest.approx(trained["test"], abs=1e-4)
