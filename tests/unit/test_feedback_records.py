"""Records of `outcomes` that would have something counted twice, or wrongly, are refused with a sentence."""

from datetime import UTC, datetime

import pytest

from schemas.feedback import (
    OutcomesRecord,
    UnreadableOutcomesError,
    outcomes_key,
    read_outcomes,
    read_positions,
)

# A fixed moment: the names of tests must be the same in every process that collects them.
ONE = OutcomesRecord(
    since=datetime(2026, 11, 30, 8, 40, tzinfo=UTC), release="r", segment="F 25-34", ranks=[]
)
KEY = outcomes_key(ONE.since, ONE.release, ONE.segment).encode()


def test_a_record_of_ours_is_read() -> None:
    assert read_outcomes("outcomes", KEY, ONE.model_dump_json().encode()) == ONE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (KEY, b"no json"),
        (KEY, b"{}"),
        (KEY, b'{"format": 2, "counts": "?"}'),
        (KEY, ONE.model_copy(update={"format": 2}).model_dump_json().encode()),
        (b"outcomes:x", ONE.model_dump_json().encode()),
    ],
)
def test_counts_that_are_malformed_newer_or_of_another_key_are_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(UnreadableOutcomesError, match=r"of outcomes cannot be read .*upgrade Marquee"):
        read_outcomes("outcomes", key, value)


@pytest.mark.parametrize(
    "begin", [b'{"format": 2, ', b'{"format": 1, "read_to": 3, ', b'{"feedback": [-1], ']
)
def test_positions_that_are_malformed_or_newer_are_refused(begin: bytes) -> None:
    value = begin + b'"recommendations": [-5], "feedback": [], "read_to": "2026-11-30T00:00:00Z"}'
    with pytest.raises(UnreadableOutcomesError):
        read_positions("outcomes", b"positions", value)
