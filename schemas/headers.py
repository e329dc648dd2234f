"""Headers of a Kafka record, read so that a name that is not UTF-8 harms nothing.

The clients of C, Go and Java take any bytes as the name of a header. Where a name is not UTF-8, confluent-kafka's
`Message.headers()` raises at its first call. Every later call returns the list with a hole in place of that name, and a read of
the hole ends the process. The garbage collector's view of an object skips holes, so it finds the whole headers without touching
the others.

In a loop the interpreter misses that error too, once it has specialised the call (CPython 3.11 and later): the error stays
pending, and surfaces in the next statement. Calls made by `map` and `operator.methodcaller` are always checked.

`Message.headers()` is called here and nowhere else (tests/unit/test_headers.py).
"""

from collections import deque
from collections.abc import Callable, Sequence
from gc import get_referents
from operator import methodcaller
from typing import cast

from confluent_kafka import KafkaError, Message

Headers = list[tuple[str, str | bytes | None]]

_read: Callable[[Message], Headers | None] = methodcaller("headers")


class MendedMessage:
    """A polled message without its unreadable headers."""

    __slots__ = ("_headers", "_message")

    def __init__(self, message: Message, headers: Headers | None) -> None:
        self._message, self._headers = message, headers

    def headers(self) -> Headers | None:
        return self._headers

    def topic(self) -> str | None:
        return self._message.topic()

    def partition(self) -> int | None:
        return self._message.partition()

    def offset(self) -> int | None:
        return self._message.offset()

    def key(self) -> bytes | None:
        return self._message.key()

    def value(self) -> bytes | None:
        return self._message.value()

    def timestamp(self) -> tuple[int, int]:
        return self._message.timestamp()

    def error(self) -> KafkaError | None:
        return self._message.error()


def mended(messages: Sequence[Message], left_out: Callable[[int], None]) -> list[Message]:
    """The messages, with headers that any number of calls can read.

    Only a message that lost headers is wrapped. `left_out` receives the number of headers that a message lost.
    """
    found = list(messages)
    try:
        deque(map(Message.headers, found), maxlen=0)  # 0.03 µs a message, and each call is checked
    except Exception:  # noqa: BLE001  SystemError here, UnicodeDecodeError elsewhere
        for at, message in enumerate(found):
            headers, lost = _whole(message)
            if lost:
                found[at] = cast(Message, MendedMessage(message, headers))
                left_out(lost)
    return found


def headers_of(message: Message) -> Headers:
    """The readable headers of a message that was not polled through `mended`; may be called again."""
    return _whole(message)[0]


def _whole(message: Message) -> tuple[Headers, int]:
    """The headers without holes, and the number of those with one."""
    try:
        headers = _listed(message) or []
    except Exception:  # noqa: BLE001  a client that gives all of the headers or none
        return [], 1
    if len(get_referents(headers)) < len(headers):  # a hole for the whole header, not only for its name
        return [], len(headers)
    whole = [header for header in headers if len(get_referents(header)) == 2]
    return whole, len(headers) - len(whole)


def _listed(message: Message) -> Headers | None:
    try:
        return _read(message)
    except Exception:  # noqa: BLE001  the first call alone raises
        return _read(message)
