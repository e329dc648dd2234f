"""The state machine of a session: each phase with each change, and the promises that each transition keeps."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.session import (
    REFUSED,
    TABLE,
    Assignment,
    Change,
    Order,
    Phase,
    RefusedChangeError,
    Session,
)

PAIRS = list(product(Phase, Change))
ENDING = {Change.LOST, Change.UNFINISHED, Change.ABORTED, Change.RECREATED}


def session_in(phase: Phase) -> Session:
    session = Session()
    session.phase = phase
    return session


@pytest.mark.parametrize(("phase", "change"), PAIRS)
def test_each_change_in_each_phase_has_a_next_phase_with_a_reason_or_is_refused(
    phase: Phase, change: Change
) -> None:
    # Given a session in the phase
    session = session_in(phase)
    # When the change is reported, then exactly one of both holds, with a reason
    if (phase, change) in TABLE:
        assert (phase, change) not in REFUSED
        transition = session.apply(change)
        assert transition.reason
        assert session.phase is transition.phase
    else:
        with pytest.raises(RefusedChangeError, match=REFUSED[phase, change]):
            session.apply(change)
        assert session.phase is phase


def test_each_phase_can_be_reached_and_left_but_stopping() -> None:
    reached = {transition.phase for (phase, _), transition in TABLE.items() if transition.phase is not phase}
    left = {phase for (phase, _), transition in TABLE.items() if transition.phase is not phase}
    assert reached == set(Phase) - {Phase.JOINING}
    assert left == set(Phase) - {Phase.STOPPING}


@pytest.mark.parametrize("phase", Phase)
def test_the_group_may_revoke_and_lose_partitions_and_a_worker_may_stop_at_any_time(phase: Phase) -> None:
    """A rebalance callback that raised would end the process."""
    for change in (Change.ASSIGNED, Change.REVOKED, Change.LOST):
        session_in(phase).apply(change)
    if phase is not Phase.STOPPING:
        for change in (Change.STOP, Change.FAILED):
            assert session_in(phase).apply(change).phase is Phase.STOPPING


@pytest.mark.parametrize(("phase", "change"), [pair for pair in TABLE if pair[1] in ENDING])
def test_batches_in_flight_are_dropped_before_another_member_may_answer_their_events(
    phase: Phase, change: Change
) -> None:
    transition = TABLE[phase, change]
    if phase is Phase.JOINING:
        assert transition.phase is Phase.JOINING  # nothing is in flight
        return
    assert transition.orders[0] is Order.END_EPOCH
    assert transition.phase is (Phase.STOPPING if phase is Phase.STOPPING else Phase.REWINDING)


@pytest.mark.parametrize(("phase", "change"), list(TABLE))
def test_an_epoch_ends_with_every_rewind_and_begins_only_from_committed_offsets(
    phase: Phase, change: Change
) -> None:
    transition = TABLE[phase, change]
    begins = Order.BEGIN_EPOCH in transition.orders
    assert begins == (change is Change.DRAINED)
    if begins:
        assert Order.REREAD_POSITIONS in transition.orders
        assert transition.orders.index(Order.RESUME) < transition.orders.index(Order.REREAD_POSITIONS)
    if transition.phase is Phase.REWINDING and phase is not Phase.REWINDING:
        assert Order.END_EPOCH in transition.orders


@pytest.mark.parametrize(("phase", "change"), list(TABLE))
def test_a_rewind_ends_only_when_no_batch_is_in_flight_or_with_the_session(
    phase: Phase, change: Change
) -> None:
    if phase is Phase.REWINDING and TABLE[phase, change].phase is not Phase.REWINDING:
        assert change in {Change.DRAINED, Change.STOP, Change.FAILED}


@pytest.mark.parametrize("change", [Change.ASSIGNED, Change.REVOKED, Change.LOST])
@pytest.mark.parametrize("phase", Phase)
def test_each_rebalance_has_the_group_metadata_read_again(phase: Phase, change: Change) -> None:
    assert Order.REFRESH_MEMBER in TABLE[phase, change].orders


def test_partitions_are_paused_in_one_phase_alone() -> None:
    for (phase, _), transition in TABLE.items():
        assert (Order.PAUSE in transition.orders) == (
            phase is Phase.RUNNING and transition.phase is Phase.PAUSED
        )
        if phase is Phase.PAUSED and transition.phase is Phase.RUNNING:
            assert Order.RESUME in transition.orders


def carry_out(session: Session, change: Change) -> None:
    """Carry out the orders about the epoch, as the loop does."""
    for order in session.apply(change).orders:
        if order is Order.END_EPOCH:
            session.epoch.end()
        elif order is Order.BEGIN_EPOCH:
            session.epoch.begin()


@given(st.lists(st.sampled_from(Change)))
def test_events_are_published_only_under_the_epoch_in_which_they_were_polled(changes: list[Change]) -> None:
    session = Session()
    for change in changes:
        if (session.phase, change) in TABLE:
            carry_out(session, change)
        # Then a batch that is handed over now may be published exactly while events are taken, or a stop finishes them
        ended = session.epoch.ended
        if session.takes_events:
            assert not ended
        if session.phase is Phase.REWINDING:
            assert ended


@pytest.mark.parametrize(
    ("changes", "certain"),
    [
        ([Change.ASSIGNED, Change.STOP], True),
        ([Change.ASSIGNED, Change.ABORTED], False),
        ([Change.ASSIGNED, Change.ABORTED, Change.STOP], False),
        ([Change.ASSIGNED, Change.ABORTED, Change.DRAINED, Change.STOP], True),
        ([Change.ASSIGNED, Change.STOP, Change.UNFINISHED], False),
        ([Change.ASSIGNED, Change.FAILED], False),
    ],
)
def test_outcomes_are_certain_unless_an_epoch_ended_or_an_error_ends_the_process(
    changes: list[Change], certain: bool
) -> None:
    session = Session()
    for change in changes:
        carry_out(session, change)
    assert session.is_certain == certain


def test_a_position_counts_for_the_assignment_under_which_it_was_asked() -> None:
    # Given a question about two partitions
    assignment = Assignment()
    assignment.add([0, 1])
    question = assignment.question()
    # When one of them goes to another member and comes back, and a third is added
    assignment.remove([1])
    assignment.add([1, 2])
    # Then the answer holds for the one that stayed
    assert [assignment.is_current(partition, question) for partition in (0, 1, 2)] == [True, False, False]
    assert list(assignment) == [0, 1, 2]
