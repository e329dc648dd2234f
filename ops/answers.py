"""Lists of movies as a person reads them."""

from schemas.recommendation import Recommendation

_COLUMNS = ("Top", "Ids", "Title", "Score")


def movie_table(recommendation: Recommendation) -> str:
    """The seed's table, `Top Ids Title Score`, counted from 0 as there; cells are parted by tabs and padded."""
    rows = [
        (str(movie.rank - 1), str(movie.movie_id), movie.title, f"{movie.score:.6f}")
        for movie in recommendation.movies
    ]
    widths = [max(len(row[column]) for row in [_COLUMNS, *rows]) for column in range(len(_COLUMNS))]
    lines = [
        "\t".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [_COLUMNS, *rows]
    ]
    return "\n".join(lines)
