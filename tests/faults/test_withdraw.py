"""The withdraw scenario's own check is checked: a result that breaks the promise is found out, and no other."""

import pytest

from tests.faults.scenarios.withdraw import Result, Window, broken_promises

WINDOW = Window(frozenset({7}), events={0: 10, 1: 0}, results={0: 30, 1: 5})


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (Result(0, 20, 10, frozenset({7, 8})), (1, 1)),
        (Result(0, 20, 10, frozenset({8})), (1, 0)),
        (Result(0, 20, 9, frozenset({7})), (0, 0)),  # published before every worker had read it
        (Result(0, 30, 10, frozenset({7})), (0, 0)),  # made after the movie may have been restored
        (Result(1, 4, 0, frozenset({7})), (1, 1)),
    ],
)
def test_which_results_break_the_promise(result: Result, found: tuple[int, int]) -> None:
    looked_at, broken = broken_promises([WINDOW], [result])
    assert (looked_at, len(broken)) == found
