"""A movie without ratings is recommended once it is published: the indexer embeds it alone, and the workers swap."""

import shutil
from pathlib import Path

from producer.endings import EndingReader, Result
from producer.profiles import publish_one
from schemas.profile import Filter, ProfileEvent
from schemas.settings import Settings
from tests.testbed.processes import Process, marquee
from worker.kafka.topics import ensure_topics
from worker.release.store import ReleaseStore

SECONDS = 60.0
NEW = "900001::Quiet Horizon (2031)::Comedy|Drama\n900002::Zzyzx (2032)::Western\n"


def test_a_movie_without_a_rating_is_recommended(
    lite_settings: Settings, fusion_store: str, tmp_path: Path
) -> None:
    store = str(shutil.copytree(fusion_store, tmp_path / "releases"))
    settings = lite_settings.model_copy(update={"store": store})
    release = ReleaseStore(store).names()[-1]
    (tmp_path / "new.dat").write_text(NEW)
    ensure_topics(settings, 30)
    with (
        Process("indexer", settings, tmp_path),
        Process("worker", settings, tmp_path),
        EndingReader(settings) as reader,
    ):
        first = marquee(settings, "reindex", release, "--wait")
        assert first.returncode == 0, first.stderr

        added = marquee(
            settings, "movies", "add", str(tmp_path / "new.dat"), "--release", release, "--then-reindex"
        )

        assert added.returncode == 0, added.stderr
        profile = ProfileEvent(gender="F", age=30, filter=Filter(years=(2030, 2040)))
        sent = publish_one(settings, profile, timeout_s=SECONDS)
        outcome = reader.ending_of(sent.partition, sent.offset, SECONDS)
    assert isinstance(outcome, Result)
    assert outcome.recommendation.release == added.stdout.strip()
    assert {movie.movie_id for movie in outcome.recommendation.movies} == {900_001, 900_002}

    again = marquee(settings, "movies", "add", str(tmp_path / "new.dat"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "has movie 900001, 900002 already" in again.stderr
    nowhere = marquee(settings, "movies", "add", str(tmp_path / "nothing.dat"))
    assert (nowhere.returncode, "nothing.dat is missing: check the path" in nowhere.stderr) == (1, True)
