"""A pull is the part of a score that is lost without the input."""

import json

import pytest
import typer
from typer.testing import CliRunner

from ops.offline.explain import explain
from ops.offline.release import OfflineRelease
from schemas.profile import ProfileEvent
from schemas.settings import load_settings
from worker.release.release import Release
from worker.release.store import ReleaseStore


def newest(store: str) -> OfflineRelease:
    return OfflineRelease(load_settings(store=store), ReleaseStore(store).names()[0])


@pytest.fixture(scope="module")
def offline(sequence_store: str) -> OfflineRelease:
    return newest(sequence_store)


@pytest.fixture(scope="module")
def release(offline: OfflineRelease) -> Release:
    return offline.served.release


def score(release: Release, event: ProfileEvent, movie_id: int) -> float:
    row = release.catalogue.position(movie_id)
    assert row is not None
    return float(release.embed_profiles([event])[0] @ release.embed_movies(row, row + 1)[0])


def test_a_pull_is_the_score_that_is_lost_without_the_input(
    offline: OfflineRelease, release: Release
) -> None:
    watched = release.catalogue.movie_ids[[3, 70, 110]].tolist()
    event = ProfileEvent(gender="F", age=30, recent=[*watched, 10**9], k=4)

    explained = explain(offline, event)

    assert len(explained) == 4
    for each in explained:
        whole = score(release, event, each.movie_id)
        assert each.score == pytest.approx(whole, abs=1e-5)
        without = {
            "gender F": event.model_copy(update={"gender": None}),
            "age 30": event.model_copy(update={"age": None}),
            **{
                release.catalogue.titles[row]: event.model_copy(
                    update={"recent": [other for other in watched if other != movie]}
                )
                for row, movie in zip([3, 70, 110], watched, strict=True)
            },
        }
        assert {pull.what: pull.score for pull in each.pulls} == {
            what: pytest.approx(whole - score(release, less, each.movie_id), abs=1e-5)
            for what, less in without.items()
        }
        assert [pull.score for pull in each.pulls] == sorted(
            (pull.score for pull in each.pulls), reverse=True
        )


def test_the_explained_list_is_the_served_one(offline: OfflineRelease) -> None:
    best = [each.movie_id for each in explain(offline, ProfileEvent(k=3))]

    again = explain(offline, ProfileEvent(k=3, exclude=best[:1], recent=[10**9]))

    assert [each.movie_id for each in again][:2] == best[1:]


def test_a_model_that_reads_no_history_is_pulled_by_none(fusion_store: str) -> None:
    offline = newest(fusion_store)
    release = offline.served.release
    event = ProfileEvent(user_id=5, recent=release.catalogue.movie_ids[:3].tolist())

    for each in explain(offline, event):
        assert [pull.what for pull in each.pulls] == ["user_id 5"]


def test_the_command_prints_a_table_and_json(sequence_store: str, release: Release) -> None:
    from ops.commands import explain as command

    app = typer.Typer()
    command.register(app)
    watched = int(release.catalogue.movie_ids[3])

    shown = CliRunner().invoke(app, ["--store", sequence_store, "-g", "1", "--recent", str(watched)])
    event = json.dumps({"gender": "F", "recent": [watched]})
    as_json = CliRunner().invoke(app, [event, "--store", sequence_store, "--json"])
    refused = CliRunner().invoke(app, ['{"age": 300}', "--store", sequence_store])

    assert shown.exit_code == 0, shown.output
    assert "pulled there by" in shown.output
    assert "gender F" in shown.output
    movies = json.loads(as_json.stdout)["movies"]
    assert len(movies) == 5
    assert {pull["movie_id"] for pull in movies[0]["pulls"]} == {None, watched}
    assert "no profile event, invalid: age" in str(refused.exception)
