"""The table of an answer."""

from ops.answers import movie_table
from schemas.recommendation import Recommendation, RecommendedMovie, Source


def recommendation(*movies: tuple[int, str, float]) -> Recommendation:
    return Recommendation(
        event_id="a",
        movies=[
            RecommendedMovie(rank=rank, movie_id=movie_id, title=title, genres=[], score=score)
            for rank, (movie_id, title, score) in enumerate(movies, start=1)
        ],
        release="r",
        collection="c",
        retrieval="milvus",
        source=Source(topic="t", partition=0, offset=0),
    )


def test_the_table_is_the_seeds() -> None:
    table = movie_table(recommendation((3030, "Yojimbo (1961)", 2.944493), (1, "Hud (1963)", 2.5)))
    assert table.splitlines() == [
        "Top\tIds \tTitle         \tScore",
        "0  \t3030\tYojimbo (1961)\t2.944493",
        "1  \t1   \tHud (1963)    \t2.500000",
    ]


def test_an_empty_list_is_a_table_without_rows() -> None:
    assert movie_table(recommendation()) == "Top\tIds\tTitle\tScore"
