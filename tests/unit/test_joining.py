"""Dead letters of the outcomes worker wait for the next commit, within a bound in bytes."""

from typing import cast

from confluent_kafka import Message

from schemas.settings import load_settings
from tests.unit.events import PolledEvent
from worker.outcomes.join import Join
from worker.outcomes.joining import Joining
from worker.process import Stopping


def test_large_dead_letters_are_committed_before_the_second_is_over() -> None:
    joining = Joining(load_settings(), Join(1), lambda: None, Stopping(), lambda _: None)
    letter = cast(Message, PolledEvent(b"x" * 2**20, ("marquee.feedback", 0, 1)))
    for _ in range(7):
        joining._take_feedback(letter, new=True)
    assert not joining.full
    joining._take_feedback(letter, new=True)
    assert joining.full
    joining.committed()
    assert (joining.full, joining.letters) == (False, [])
