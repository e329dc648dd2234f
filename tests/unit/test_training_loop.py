"""The loop of epochs: it keeps the best, stops where nothing comes any more, and refuses what ran away."""

from collections.abc import Iterator

import pytest

from ops.training.loop import Progress, State, TrainingError, run


class Scripted:
    """A course whose validation figures are given."""

    def __init__(self, figures: list[float], steps: int = 2) -> None:
        self._figures = figures
        self._steps = steps
        self.epochs = 0

    def epoch(self, number: int) -> Iterator[tuple[float, float]]:
        assert number == self.epochs
        self.epochs += 1
        for step in range(1, self._steps + 1):
            yield step / self._steps, 1.0 / step

    def measure(self) -> float:
        return self._figures[self.epochs - 1]

    def said(self, measured: float) -> str:
        return f"error {measured}"

    def weights(self) -> State:
        return {"epoch": self.epochs}

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        raise AssertionError(state)


def test_stops_when_patience_is_over_and_keeps_the_best() -> None:
    course = Scripted([0.9, 0.5, 0.6, 0.7, 0.4, 0.1])

    outcome = run(course, epochs=6, patience=1)

    assert (outcome.measured, outcome.weights) == ([0.9, 0.5, 0.6, 0.7], {"epoch": 2})


def test_runs_all_epochs_while_it_gets_better() -> None:
    outcome = run(Scripted([0.3, 0.2, 0.1]), epochs=3, patience=1)

    assert (outcome.measured, outcome.interrupted) == ([0.3, 0.2, 0.1], False)


def test_tells_how_far_it_is_and_what_was_measured() -> None:
    told: list[Progress] = []

    run(Scripted([0.3, 0.2]), epochs=2, patience=1, report=lambda progress: told.append(progress))

    assert [progress.share for progress in told] == [0.25, 0.5, 0.75, 1.0]
    assert [progress.epoch for progress in told] == [1, 1, 2, 2]
    assert [progress.said for progress in told] == [[], [], ["error 0.3"], ["error 0.3"]]


def test_an_interruption_ends_after_the_step_in_hand() -> None:
    wishes = iter([False, False, True])
    course = Scripted([0.3, 0.5], steps=4)

    outcome = run(course, epochs=9, patience=9, interrupted=lambda: next(wishes))

    assert outcome.interrupted
    assert (course.epochs, outcome.weights) == (1, {"epoch": 1})


def test_a_loss_that_ran_away_is_an_error_whatever_is_measured() -> None:
    class RunningAway(Scripted):
        def epoch(self, number: int) -> Iterator[tuple[float, float]]:
            for share, loss in super().epoch(number):
                yield share, loss if number == 0 else float("nan")

    with pytest.raises(TrainingError, match="epoch 2: lower --lr"):
        run(RunningAway([0.3, 0.2, 0.1]), epochs=3, patience=3)


def test_weights_that_ran_away_are_an_error() -> None:
    with pytest.raises(TrainingError, match="epoch 2: lower --lr"):
        run(Scripted([0.3, float("nan")]), epochs=3, patience=3)
