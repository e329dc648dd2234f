"""What counts as the same list, and that anything else is seen."""

import numpy as np
import pytest

from ops.offline.verify import Listed, difference

IDS = np.array([10, 20, 30, 40, 50, 60, 70], dtype=np.int64)
EXACT = np.array([0.1, 4.0, 3.0, 3.000005, 2.0, 1.0, 0.999], dtype=np.float32)
EQUAL = [Listed(20, 4.0), Listed(40, 3.000005), Listed(30, 3.0), Listed(50, 2.0), Listed(60, 1.0)]


def changed(*changes: tuple[int, Listed]) -> list[Listed]:
    picks = list(EQUAL)
    for place, pick in changes:
        picks[place] = pick
    return picks


def test_the_same_list_is_no_difference() -> None:
    assert difference(IDS, EXACT, EQUAL) is None


def test_neighbours_within_1e_5_may_swap() -> None:
    assert difference(IDS, EXACT, changed((1, EQUAL[2]), (2, EQUAL[1]))) is None


@pytest.mark.parametrize(
    ("picks", "what"),
    [
        (changed((0, EQUAL[3]), (3, EQUAL[0])), "rank 1 is movie 50"),
        (changed((4, Listed(70, 0.999))), "rank 5 is movie 70"),
        (changed((3, Listed(50, 2.0002))), "rank 4, movie 50, scores 2.000200 instead of 2.000000"),
        (changed((3, Listed(99, 2.0))), "which the catalogue lacks"),
        (changed((2, EQUAL[1])), "5 movies instead of 5 different ones"),
        (EQUAL[:4], "4 movies instead of 5 different ones"),
    ],
)
def test_every_other_list_is_a_difference(picks: list[Listed], what: str) -> None:
    assert what in (difference(IDS, EXACT, picks) or "")


def test_a_catalogue_shorter_than_the_list_is_listed_whole() -> None:
    assert difference(IDS[:2], EXACT[:2], [Listed(20, 4.0), Listed(10, 0.1)]) is None
