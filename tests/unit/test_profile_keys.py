"""Which key an event gets, and that raw bytes stay as they are."""

import json

import pytest

from producer.profiles import Profile, encode
from schemas.profile import ProfileEvent


@pytest.mark.parametrize(
    ("profile", "key"),
    [
        ({"user_id": 42, "event_id": "a"}, b"42"),
        ({"event_id": "a"}, b"a"),
        ({"age": 27}, None),
        ({"user_id": None, "event_id": "ü"}, "ü".encode()),
        ({"user_id": True, "event_id": "a"}, b"a"),
        (ProfileEvent(user_id=2**63 - 1), b"9223372036854775807"),
        (ProfileEvent(event_id="a"), b"a"),
        (ProfileEvent(), None),
        (b'{"user_id": 7}', b"7"),
        (b'{"user_id": "7"}', None),
        (b'{"user_id": 12345678901234567890123, "event_id": "big"}', b"big"),
        (b"[1, 2]", None),
        (b"\xff not json", None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_key(profile: Profile, key: bytes | None) -> None:
    assert encode(profile)[0] == key


def test_raw_bytes_are_sent_untouched() -> None:
    line = b'{ "user_id" : 7,  "later": [1.50] }'
    assert encode(line)[1] == line


def test_a_mapping_keeps_fields_that_this_version_does_not_know() -> None:
    assert json.loads(encode({"user_id": 7, "later": 1})[1]) == {"user_id": 7, "later": 1}


def test_a_profile_says_only_what_is_known() -> None:
    assert json.loads(encode(ProfileEvent(user_id=7, gender="F"))[1]) == {"user_id": 7, "gender": "F"}
