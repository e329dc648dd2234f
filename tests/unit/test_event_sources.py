"""Events from files: formats are recognised, and an invalid line is refused with its number."""

import io
from pathlib import Path

import pytest

from ops.traffic.sources import BadLineError, event_lines, opened
from schemas.errors import MarqueeError
from schemas.profile import ProfileEvent


def read(content: bytes, name: str = "events.jsonl", *, validate: bool = True) -> list[bytes | ProfileEvent]:
    return [line.event for line in event_lines(io.BytesIO(content), name, validate=validate)]


def test_json_lines_are_sent_as_they_stand() -> None:
    assert read(b'{"k": 3 }\r\n\n  \n{}') == [b'{"k": 3 }', b"{}"]


def test_lines_are_numbered_as_an_editor_does() -> None:
    lines = event_lines(io.BytesIO(b'{}\n\n{"k": 3}\n'), "events.jsonl")
    assert [(line.place, line.size) for line in lines] == [("events.jsonl:1", 3), ("events.jsonl:3", 9)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"age": 300}', "age"),
        (b'{"user_id": "7"}', "user_id"),
        (b"{", "not JSON"),
        (b"[1]", "not an object"),
        (b'{"exclude": [0]}', "exclude"),
    ],
)
def test_a_bad_line_is_named_and_nothing_after_it_is_read(line: bytes, reason: str) -> None:
    lines = event_lines(io.BytesIO(b"{}\n" + line + b"\n{}\n"), "events.jsonl")
    assert next(lines).event == b"{}"
    with pytest.raises(BadLineError, match=rf"events\.jsonl:2 .*{reason}"):
        next(lines)


def test_without_validation_every_line_is_sent_even_an_empty_one() -> None:
    assert read(b"{\n\n\xff\n", validate=False) == [b"{", b"", b"\xff"]


def test_users_of_ml_1m_are_recognised_by_the_name_of_the_file() -> None:
    with pytest.raises(BadLineError, match=r"users\.dat:1 is no user of ml-1m"):
        read(b"{}\n", "data/users.dat")


def test_users_of_ml_1m_are_recognised_by_their_format() -> None:
    assert read(b"1::F::1::10::48067\n2::M::56::16::70072\n", "people") == [
        ProfileEvent(user_id=1, gender="F", age=1, occupation=10),
        ProfileEvent(user_id=2, gender="M", age=56, occupation=16),
    ]


@pytest.mark.parametrize(
    "line", [b"0::F::1::10::4", b"3::X::1::10::4", b"3::F::1::21::4", b"3::F::200::1::4", b"3::F"]
)
def test_a_malformed_user_is_named(line: bytes) -> None:
    with pytest.raises(BadLineError, match=r"people:2 is no user of ml-1m"):
        read(b"1::F::1::10::48067\n" + line + b"\n", "people")


def test_an_empty_file_has_no_events() -> None:
    assert read(b"") == []


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MarqueeError, match=r"cannot read .*: Is a directory"), opened(tmp_path):
        pass
