"""The table of a result, and the error if no result comes."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from ops.commands.printing import movie_table
from ops.deployment.overview import cause_of_silence
from ops.traffic.ask import ask
from producer.endings import NoEndingError
from producer.profiles import Delivery
from schemas.errors import UnreachableError
from schemas.recommendation import RecommendedMovie
from schemas.settings import Settings


def ranked(*movies: tuple[int, str, float]) -> list[RecommendedMovie]:
    return [
        RecommendedMovie(rank=rank, movie_id=movie_id, title=title, genres=[], score=score)
        for rank, (movie_id, title, score) in enumerate(movies, start=1)
    ]


def test_the_table_is_the_seeds() -> None:
    table = movie_table(ranked((3030, "Yojimbo (1961)", 2.944493), (1, "Hud (1963)", 2.5)))
    assert table.splitlines() == [
        "Top\tIds \tTitle         \tScore",
        "0  \t3030\tYojimbo (1961)\t2.944493",
        "1  \t1   \tHud (1963)    \t2.500000",
    ]


def test_an_empty_list_is_a_table_without_rows() -> None:
    assert movie_table(ranked()) == "Top\tIds\tTitle\tScore"


def test_a_silence_is_no_answer_though_its_cause_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(*_: object) -> None:
        raise NoEndingError("no answer came")

    def away(*_: object, **__: object) -> None:
        raise UnreachableError("Kafka did not answer")

    reader = SimpleNamespace(ending_of=silence)
    monkeypatch.setattr("ops.traffic.ask.EndingReader", lambda *_, **__: nullcontext(reader))
    monkeypatch.setattr("ops.traffic.ask.publish_one", lambda *_, **__: Delivery("", 0, 0, 0))
    monkeypatch.setattr("ops.deployment.overview.overview", away)
    with pytest.raises(NoEndingError, match="no answer came: Kafka did not answer"):
        ask(Settings(), {}, 1.0, cause_of_silence)
