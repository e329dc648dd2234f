"""Decoding: any bytes become a profile or a rejection with its reason, and never an exception."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import REASONS, Reason
from schemas.profile import Filter, ProfileEvent, age_group
from worker.events import MAX_EVENT_BYTES, Rejection, decode


def test_every_field_is_decoded() -> None:
    event = decode(
        b'{"event_id": "6f1c", "user_id": 42, "gender": "F", "age": 27, "occupation": 12, "recent": [1193, 661], "k": 7}'
    )

    assert event == ProfileEvent(
        event_id="6f1c", user_id=42, gender="F", age=27, occupation=12, recent=[1193, 661], k=7
    )


def test_constraints_are_decoded() -> None:
    event = decode(
        b'{"exclude": [2858], "filter": {"genres": ["Comedy"], "not_genres": ["Horror"], "years": [1990, 1999]}}'
    )

    assert isinstance(event, ProfileEvent)
    assert event.exclude == [2858]
    assert event.filter == Filter(genres=("Comedy",), not_genres=("Horror",), years=(1990, 1999))


def test_unknown_is_a_value_and_unknown_fields_are_ignored() -> None:
    everything_null = dict.fromkeys(ProfileEvent.model_fields)

    assert decode(json.dumps(everything_null).encode()) == ProfileEvent()
    assert decode(b'{"of_the_future": {"a": 1}}') == ProfileEvent()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NULL_VALUE),
        (b"", Reason.NOT_JSON),
        (b"hello", Reason.NOT_JSON),
        (b'{"age": 27', Reason.NOT_JSON),
        (b'{"gender": "\xff"}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Reason.NOT_JSON),
        (b"[]", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"7", Reason.NOT_AN_OBJECT),
        (b'{"age": 300}', Reason.INVALID),
        (b'{"age": -1}', Reason.INVALID),
        (b'{"age": "27"}', Reason.INVALID),
        (b'{"age": 27.0}', Reason.INVALID),
        (b'{"user_id": true}', Reason.INVALID),
        (b'{"user_id": 0}', Reason.INVALID),
        (b'{"user_id": 12345678901234567890123}', Reason.INVALID),
        (b'{"user_id": 9223372036854775808}', Reason.INVALID),
        (b'{"k": 0}', Reason.INVALID),
        (b'{"k": 101}', Reason.INVALID),
        (b'{"gender": "f"}', Reason.INVALID),
        (b'{"occupation": 21}', Reason.INVALID),
        (b'{"event_id": ""}', Reason.INVALID),
        (json.dumps({"event_id": "x" * 257}).encode(), Reason.INVALID),
        (json.dumps({"recent": [1] * 201}).encode(), Reason.INVALID),
        (b'{"recent": 5}', Reason.INVALID),
        (b'{"recent": [0]}', Reason.INVALID),
        (b'{"filter": {"years": [1999, 1990]}}', Reason.INVALID),
        (b'{"filter": {"years": [1990]}}', Reason.INVALID),
        (b'{"filter": {"years": [1990, 1995, 1999]}}', Reason.INVALID),
        (b'{"filter": {"genres": "Comedy"}}', Reason.INVALID),
        (b'{"exclude": [0]}', Reason.INVALID),
        (json.dumps({"exclude": [1] * 1_001}).encode(), Reason.INVALID),
        (b'{"pad": "' + b"x" * MAX_EVENT_BYTES + b'"}', Reason.TOO_LARGE),
    ],
)
def test_an_invalid_event_has_a_reason(value: bytes | None, reason: Reason) -> None:
    rejection = decode(value)

    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert rejection.error


GENRES = '{"filter": {"%s": [%s]}}'


@pytest.mark.parametrize("field", ["genres", "not_genres"])
@pytest.mark.parametrize(
    ("genres", "said"),
    [
        (['"Comedy"'] * 65, "at most 64 items"),
        (['"' + "é" * 257 + '"'], "at most 256 characters"),
    ],
)
def test_a_filter_has_limits(field: str, genres: list[str], said: str) -> None:
    rejection = decode((GENRES % (field, ", ".join(genres))).encode())

    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.INVALID
    assert rejection.error.startswith(f"filter.{field}")
    assert said in rejection.error


def test_a_filter_may_have_as_much_as_a_movie_in_a_collection() -> None:
    genres = ['"' + "é" * 256 + '"'] * 64

    assert isinstance(decode((GENRES % ("genres", ", ".join(genres))).encode()), ProfileEvent)


@pytest.mark.parametrize("field", ["recent", "exclude", "genres", "not_genres", "years"])
@pytest.mark.parametrize("item", ["1", '""', "[]", "{}", "true", '"a"'])
def test_a_list_of_a_mebibyte_is_refused_before_it_is_built(field: str, item: str) -> None:
    """Of 349,000 genres one event made 9.5 MB, and of 524,000 numbers in their place 450 MB of errors."""
    body = '{"%s": [%s]}' if field in ProfileEvent.model_fields else '{"filter": {"%s": [%s]}}'
    items = [item] * ((MAX_EVENT_BYTES - 100) // (len(item) + 1))
    value = (body % (field, ",".join(items))).encode()
    del items
    tracemalloc.start()
    try:
        rejection = decode(value)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(rejection, Rejection)
    assert kept < 10_000
    assert peak < 32 * MAX_EVENT_BYTES


def test_the_error_names_the_field() -> None:
    rejection = decode(b'{"recent": [1, "two"], "age": 300}')

    assert isinstance(rejection, Rejection)
    assert "recent.1: " in rejection.error
    assert "age: " in rejection.error


@given(st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
def test_no_bytes_raise(value: bytes) -> None:
    assert isinstance(decode(value), Rejection | ProfileEvent)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)
    )
)
def test_no_value_of_a_field_raises(value: object) -> None:
    for field in ProfileEvent.model_fields:
        assert isinstance(decode(json.dumps({field: value}).encode()), Rejection | ProfileEvent)


@pytest.mark.parametrize(
    ("age", "group"), [(0, 0), (1, 0), (17, 0), (18, 1), (24, 1), (25, 2), (35, 3), (45, 4), (50, 5), (55, 5), (56, 6), (120, 6)]
)  # fmt: skip
def test_ages_fall_into_ml_1ms_groups(age: int, group: int) -> None:
    assert age_group(age) == group


def test_every_reason_is_documented() -> None:
    assert set(REASONS) == set(Reason)
