"""Intervals and tests against figures from the literature and from scipy."""

import pytest

from schemas.feedback import difference, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_s_interval(hits: int, trials: int, low: float, high: float) -> None:
    found = wilson(hits, trials)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)
    assert found.value == hits / trials


def test_nothing_is_known_without_a_trial() -> None:
    assert wilson(0, 0) == (0.0, 0.0, 1.0)
    assert difference(0, 0, 3, 10) == 1.0
    assert difference(0, 10, 0, 10) == 1.0


def test_a_difference_by_more_than_chance() -> None:
    # z = 2.3094 of 45 of 100 beside 61 of 100, by hand; two-sided.
    assert difference(45, 100, 61, 100) == pytest.approx(0.0234, abs=1e-3)
    assert difference(50, 100, 50, 100) == 1.0
    assert difference(450, 1_000, 610, 1_000) < 1e-11
