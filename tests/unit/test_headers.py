"""Headers whose names are not UTF-8 are left out, the others are kept, and no call ends the process."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.headers import headers_of, mended
from tests.faults.raw import Pairs, RawProducer
from worker.events import decode, encode_dead_letter
from worker.stream.ends import answered_by

ROOT = Path(__file__).parents[2]
SECONDS = 30
WHOLE: Pairs = [(b"trace", b"t"), (b"none", None), (b"empty", b""), (b"", b"\xff\x00"), ("é".encode(), b"1")]
READ = [(name.decode(), value) for name, value in WHOLE]
HOLED: Pairs = [(b"caf\xe9", b"1"), *WHOLE, (b"\xff", None)]


@pytest.fixture(scope="module")
def polled() -> Iterator[Any]:
    """A function that gives a message with these headers, as the client polled it."""
    broker = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1})
    address = ",".join(f"{b.host}:{b.port}" for b in broker.list_topics(timeout=SECONDS).brokers.values())
    raw = RawProducer({"bootstrap.servers": address})
    consumer = Consumer({"bootstrap.servers": address, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("events", 0, 0)])

    def poll(headers: Pairs, count: int = 1) -> Any:
        for _ in range(count):
            raw.produce("events", b"not json", b"7", headers, partition=0)
        assert raw.flush(SECONDS) == 0
        messages = consumer.consume(count, SECONDS)
        assert [message.error() for message in messages] == [None] * count
        return messages if count > 1 else messages[0]

    yield poll
    consumer.close()
    raw.close()


def test_headers_that_can_be_read_are_kept_and_the_others_counted(polled: Any) -> None:
    left_out: list[int] = []

    (message,) = mended([polled(HOLED)], left_out.append)

    assert message.headers() == message.headers() == READ
    assert left_out == [2]
    assert (message.topic(), message.partition(), message.key()) == ("events", 0, b"7")
    assert (message.value(), message.error()) == (b"not json", None)
    assert message.offset() is not None
    assert message.timestamp()[1] > 0


@pytest.mark.parametrize("headers", [(), WHOLE])
def test_an_ordinary_message_is_not_wrapped(polled: Any, headers: Pairs) -> None:
    message = polled(headers)
    (found,) = mended([message], lambda _: pytest.fail("wrapped"))
    assert found is message
    assert (found.headers() or []) == [(name.decode(), value) for name, value in headers]


def test_a_message_may_be_looked_into_many_times(polled: Any) -> None:
    message = polled(HOLED)
    assert headers_of(message) == headers_of(message) == READ
    assert headers_of(polled(())) == []


def test_hundreds_in_one_loop_leave_no_error_pending(polled: Any) -> None:
    left_out: list[int] = []
    for message in mended(polled(HOLED, 500), left_out.append):
        assert message.headers() == READ
    assert left_out == [2] * 500
    assert [headers_of(message) for message in polled(HOLED, 500)] == [READ] * 500


def test_a_client_that_gives_all_headers_or_none_loses_all() -> None:
    def raise_error() -> None:
        raise UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid")

    message: Any = SimpleNamespace(headers=raise_error)
    assert headers_of(message) == []


def test_a_dead_letter_of_such_an_event_has_the_headers_that_can_be_read(polled: Any) -> None:
    (event,) = mended([polled(HOLED)], lambda _: None)
    rejection: Any = decode(event.value())
    event_: Any = event

    letter = encode_dead_letter("dead-letters", event_, rejection, None)

    assert letter.headers[: len(READ)] == READ
    assert [name for name, _ in letter.headers[len(READ) :]] == [
        "marquee.reason",
        "marquee.error",
        "marquee.source",
        "marquee.failed_at",
    ]


def test_an_answer_with_such_a_header_still_names_its_event(polled: Any) -> None:
    letter = polled([*HOLED, (b"marquee.source", b"profiles-0-17")])
    answered = answered_by(letter, "profiles")
    assert answered is not None
    assert answered.offset == 17


def test_headers_are_read_in_one_place() -> None:
    """Elsewhere only `copied_headers` and `Rehearsals` read them, of events that `mended` has checked."""
    callers = {
        str(file.relative_to(ROOT))
        for package in ("schemas", "worker", "producer", "ops")
        for file in (ROOT / package).rglob("*.py")
        if re.search(
            r"\.headers\(\)|methodcaller\(.headers", re.sub(r'"""[\s\S]*?"""|`[^`]*`', "", file.read_text())
        )
    }
    assert callers == {"schemas/headers.py", "worker/events/dead_letters.py", "worker/stream/crashes.py"}
