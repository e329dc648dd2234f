"""The publisher looks up its group metadata where it may have changed, and only there: each look-up holds all threads up."""

import pytest

from schemas.settings import load_settings
from worker.stream.publisher import NOTE_SECONDS, Publisher


class Member:
    """A consumer that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked, self.id = 0, ""

    def consumer_group_metadata(self) -> object:
        self.asked += 1
        return object()

    def memberid(self) -> str:
        return self.id


@pytest.mark.parametrize(("protocol", "asked_later"), [("classic", 0), ("consumer", 1)])
def test_group_metadata_is_looked_up_after_a_rebalance_and_as_often_as_the_protocol_needs(
    protocol: str, asked_later: int, clock: list[float]
) -> None:
    member = Member()
    publisher = Publisher(load_settings(worker={"group_protocol": protocol}), "w", member)  # type: ignore[arg-type]

    for _ in range(3):  # not a member yet
        publisher.note_member(regrouped=False)
    assert member.asked == 3

    member.id = "us"
    publisher.note_member(regrouped=True)
    publisher.note_member(regrouped=False)
    assert member.asked == 4

    clock[0] += 2 * NOTE_SECONDS
    publisher.note_member(regrouped=False)
    assert member.asked == 4 + asked_later
    publisher.note_member(regrouped=True)
    assert member.asked == 5 + asked_later
