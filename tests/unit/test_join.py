"""The join counts each pair once, in any order of the records, also after a successor took over."""

from collections import Counter
from dataclasses import dataclass
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas.feedback import ACTIONS, Action
from worker.outcomes.join import WINDOW_MS, Join

MINUTE = 60_000


@dataclass(frozen=True)
class Answered:
    event_id: str
    movies: tuple[int, ...]
    at_ms: int


@dataclass(frozen=True)
class Did:
    event_id: str
    movie_id: int
    action: Action
    at_ms: int


Step = Answered | Did

times = st.integers(0, 2 * WINDOW_MS // MINUTE).map(lambda minutes: minutes * MINUTE)
answers = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.lists(st.integers(1, 6), unique=True, max_size=4), times)
).map(lambda found: [Answered(id_, tuple(movies), at) for id_, (movies, at) in found.items()])
deeds = st.lists(
    st.builds(Did, st.sampled_from("abcdefg"), st.integers(1, 7), st.sampled_from(ACTIONS), times),
    max_size=20,
)


def take(join: Join, step: Step, *, new: bool = True) -> None:
    if isinstance(step, Answered):
        join.recommendation(step.event_id, "r", "F 25-34", step.movies, step.at_ms, new=new)
    else:
        join.feedback(step.event_id, step.movie_id, step.action, step.at_ms, new=new)


def counted(join: Join) -> Counter[tuple[int, str]]:
    """The counts by rank and action."""
    found: Counter[tuple[int, str]] = Counter()
    for record in join.records():
        for number, rank in enumerate(record.ranks, 1):
            for what, count in rank:
                found[number, what] += count
    return +found


def right(answered: list[Answered], did: list[Did]) -> Counter[tuple[int, str]]:
    """The same, pair by pair."""
    found: Counter[tuple[int, str]] = Counter()
    for answer in answered:
        for number, movie in enumerate(answer.movies, 1):
            found[number, "recommended"] += 1
            actions = {
                deed.action
                for deed in did
                if (deed.event_id, deed.movie_id) == (answer.event_id, movie)
                and deed.at_ms - answer.at_ms <= WINDOW_MS
            }
            for action in actions | ({"shown"} if actions else set()):
                found[number, action] += 1
    return found


@given(answers, deeds, st.randoms(use_true_random=False), st.integers(0, 30))
def test_each_pair_counts_once(answered: list[Answered], did: list[Did], chance: Random, kill: int) -> None:
    steps: list[Step] = [*answered, *did]
    chance.shuffle(steps)
    join = Join(remember=100)
    for step in steps[:kill]:
        take(join, step)
    # Given a successor with the counts, which reads the day again in another order.
    successor = Join(remember=100)
    for record in join.records():
        successor.restore(record)
    again = steps[:kill]
    chance.shuffle(again)
    for step in again:
        take(successor, step, new=False)
    for step in steps[kill:]:
        take(successor, step)

    assert counted(successor) == right(answered, did)


def test_the_join_remembers_a_bounded_number_of_results() -> None:
    join = Join(remember=10)
    for number in range(1_000):
        take(join, Answered(f"e{number}", (1, 2), number))
        take(join, Did(f"nobody{number}", 1, "clicked", number))

    assert len(join) == 10
    assert join.committed(0).unmatched == 990
    take(join, Did("e0", 1, "clicked", 1_000))
    take(join, Did("e999", 1, "clicked", 1_000))
    assert counted(join)[1, "clicked"] == 1


def test_results_are_forgotten_after_a_day() -> None:
    join = Join(remember=10)
    take(join, Answered("e", (1,), MINUTE))
    take(join, Did("later", 1, "clicked", MINUTE))
    counts = join.committed(3 * WINDOW_MS)

    assert (len(join), list(join.records()), counts.unmatched) == (0, [], 1)


def test_of_two_with_one_id_feedback_is_about_the_first() -> None:
    join = Join(remember=10)
    take(join, Answered("e", (1, 2), 0))
    take(join, Answered("e", (2, 1), 0))
    take(join, Did("e", 1, "liked", 0))

    assert counted(join) == {(1, "recommended"): 2, (2, "recommended"): 2, (1, "shown"): 1, (1, "liked"): 1}
