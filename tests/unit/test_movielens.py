"""The loader reads ml-1m's format, and names file, line and reason of whatever is wrong with it."""

import shutil
from pathlib import Path

import pytest

from ops.data.lines import DataError
from ops.data.movielens import load

USERS = "1::F::1::10::48067\n5::M::56::16::70072\n"
MOVIES = (
    "10::Toy Story (1995)::Animation|Comedy\n20::Face/Off: Again::Drama\n30::Misérables, Les (1995)::Drama\n"
)
RATINGS = "1::20::5::978300760\n5::10::1::978302109\n1::30::3::978301968\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "users.dat").write_text(USERS)
    (tmp_path / "movies.dat").write_text(MOVIES, encoding="latin-1")
    (tmp_path / "ratings.dat").write_text(RATINGS)
    return tmp_path


def test_reads_all_three_files(folder: Path) -> None:
    data = load(folder)

    assert data.users.ids.tolist() == [1, 5]
    assert data.users.genders == ["F", "M"]
    assert data.users.ages.tolist() == [1, 56]
    assert data.users.occupations.tolist() == [10, 16]
    assert data.movies.movie_ids.tolist() == [10, 20, 30]
    assert data.movies.titles == ["Toy Story (1995)", "Face/Off: Again", "Misérables, Les (1995)"]
    assert data.movies.genres[0] == ["Animation", "Comedy"]
    assert data.movies.years.tolist() == [1995, 0, 1995]
    assert data.ratings.users.tolist() == [0, 1, 0]
    assert data.ratings.movies.tolist() == [1, 0, 2]
    assert data.ratings.stars.tolist() == [5.0, 1.0, 3.0]
    assert data.ratings.timestamps.tolist() == [978300760, 978302109, 978301968]


def test_takes_the_bootcamps_movies_in_utf8(folder: Path) -> None:
    (folder / "movies.dat").unlink()
    (folder / "movies_origin.txt").write_text(MOVIES, encoding="utf-8")

    assert load(folder).movies.titles[2] == "Misérables, Les (1995)"


def test_takes_carriage_returns(folder: Path) -> None:
    for name in ("users.dat", "movies.dat", "ratings.dat"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content.replace(b"\n", b"\r\n"))

    data = load(folder)

    assert data.ratings.timestamps.tolist() == [978300760, 978302109, 978301968]
    assert data.movies.genres[1] == ["Drama"]


def test_fingerprint_follows_every_file(folder: Path) -> None:
    before = load(folder).fingerprint
    seen = {before}
    for name, text in (("users.dat", USERS), ("movies.dat", MOVIES), ("ratings.dat", RATINGS)):
        lines = text.splitlines(keepends=True)
        (folder / name).write_text("".join(reversed(lines)), encoding="latin-1")
        seen.add(load(folder).fingerprint)

    assert len(seen) == 4


@pytest.mark.parametrize(
    ("name", "line", "content", "reason"),
    [
        ("users.dat", 2, "1::F::1::10::48067\n5::M::56\n", "3 fields instead of UserID"),
        ("users.dat", 1, "x::F::1::10::48067\n", "UserID must be an integer, got 'x'"),
        ("users.dat", 1, "1::X::1::10::48067\n", "Gender must be one of F, M, got 'X'"),
        ("users.dat", 1, "1::F::2::10::48067\n", "Age must be one of 1, 18"),
        ("users.dat", 1, "1::F::1::21::48067\n", "Occupation must be 0 to 20, got 21"),
        ("users.dat", 2, "1::F::1::10::48067\n1::F::1::10::48067\n", "user 1 was there before"),
        ("movies.dat", 2, "10::A (1995)::Drama\n20::B\n", "fewer fields"),
        ("movies.dat", 1, "-3::A (1995)::Drama\n", "MovieID must be an integer, got '-3'"),
        ("movies.dat", 1, "10:: ::Drama\n", "Title is empty"),
        ("movies.dat", 1, "10::A (1995)::Drama||War\n", "Genres must be names"),
        ("movies.dat", 2, "10::A (1995)::Drama\n10::B (1996)::War\n", "movie 10 was there before"),
        ("ratings.dat", 2, "1::20::5::978300760\n1::30::5\n", "3 fields instead of UserID"),
        ("ratings.dat", 1, "1::20::5::978300760::7\n", "5 fields"),
        ("ratings.dat", 1, "1::20::4.5::978300760\n", "Rating must be an integer, got '4.5'"),
        ("ratings.dat", 1, "1::20::6::978300760\n", "Rating must be 1 to 5, got 6"),
        ("ratings.dat", 3, "1::20::5::9\n1::30::5::9\n2::30::5::9\n", "user 2 is not in users.dat"),
        ("ratings.dat", 1, "1::99::5::978300760\n", "movie 99 is not among the movies"),
        ("ratings.dat", 1, "1::20::5::\n", "Timestamp must be an integer, got ''"),
        ("ratings.dat", 2, "1::20::5::9\n\n", "1 fields"),
        ("ratings.dat", 1, "1:x:20::5::9\n", "3 fields"),
        (
            "ratings.dat",
            2,
            "1::20::5::978300760\n1::30::5::97830",
            "no newline at the end, so the file was cut off",
        ),
        ("ratings.dat", None, "", "is empty"),
    ],
)
def test_names_file_line_and_reason(
    folder: Path, name: str, line: int | None, content: str, reason: str
) -> None:
    (folder / name).write_text(content)

    with pytest.raises(DataError) as raised:
        load(folder)

    place = f"{folder / name}" if line is None else f"{folder / name}, line {line}:"
    assert str(raised.value).startswith(place)
    assert reason in str(raised.value)


@pytest.mark.parametrize("name", ["users.dat", "movies.dat", "ratings.dat"])
def test_names_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"{name} is missing: the folder must hold users.dat"):
        load(folder)


def test_says_how_to_get_data_where_there_is_no_folder(folder: Path) -> None:
    shutil.rmtree(folder)

    with pytest.raises(DataError, match="marquee data generate"):
        load(folder)
