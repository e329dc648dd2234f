"""A deadline is shared by several steps, and pauses grow up to a limit."""

from itertools import islice

from worker.monitoring.waiting import Deadline, back_off


def test_a_deadline_bounds_each_step_by_the_time_that_is_left(clock: list[float]) -> None:
    deadline = Deadline(10.0)
    assert deadline.within(4.0) == 4.0
    clock[0] += 7.0
    assert deadline.within(4.0) == 3.0
    assert not deadline.passed
    clock[0] += 4.0
    assert deadline.passed
    assert deadline.left == 0.0
    assert deadline.within(4.0, at_least=0.1) == 0.1


def test_pauses_double_up_to_the_longest() -> None:
    assert list(islice(back_off(0.5, 3.0), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]
