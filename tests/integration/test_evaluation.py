"""The figures of an evaluation are those of the running system: the same people asked through Kafka get the same lists."""

import json
from pathlib import Path

import numpy as np
import pytest

from ops.data.movielens import load
from ops.traffic.stream import stream
from schemas.settings import Settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, marquee
from worker.release.store import ReleaseStore

ENOUGH_SECONDS = 120.0


def test_the_same_figures_through_the_topics(
    lite_settings: Settings, sequence_store: str, generated_data: Path, tmp_path: Path
) -> None:
    from ops.evaluation.holdout import hold_out
    from ops.evaluation.metrics import ndcg_of_lists
    from ops.evaluation.recommend import Recommender

    settings = lite_settings.model_copy(update={"store": sequence_store})
    store = ReleaseStore(sequence_store)
    release, data = store.names()[0], load(generated_data)
    cases = hold_out(data, generated_data, "leave-one-out").test
    recommender = Recommender(store.load(release), data)
    activate(settings)

    # Given everybody's event, with all they have seen in it
    assert all(len(case.seen) == len(case.recent) for case in cases)
    events = [recommender.event(case).model_copy(update={"event_id": str(case.user)}) for case in cases]
    with Process("worker", settings, tmp_path) as worker:
        worker.wait_ready(ENOUGH_SECONDS)
        ledger = stream(settings, events, timeout_s=ENOUGH_SECONDS)
        verified = marquee(settings, "verify")

    answers = {result.recommendation.event_id: result.recommendation for result in ledger.results}
    lists = np.full((len(cases), 10), -1)
    for row, case in zip(lists, cases, strict=True):
        movies = [data.movies.position(movie.movie_id) for movie in answers[str(case.user)].movies]
        row[: len(movies)] = movies
        assert all(movie.stars is None for movie in answers[str(case.user)].movies)
    assert (lists == recommender.lists(cases)).all(axis=1).mean() > 0.99  # neighbours within 1e-5 may swap
    evaluated = marquee(settings, "evaluate", release, "--data", str(generated_data), "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    figure = json.loads(evaluated.stdout)["leave_one_out.ndcg@10"]
    assert float(ndcg_of_lists(lists, cases).mean()) == pytest.approx(figure, abs=1e-4)
    assert (verified.returncode, verified.stdout) == (0, "294/294\n")
