"""A producer of what confluent-kafka's own cannot send: headers with names of any bytes, through librdkafka by ctypes."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import confluent_kafka

# Name of the error (None where the record is stored), partition, offset, timestamp in ms.
OnDelivery = Callable[[str | None, int, int, int], None]
Pairs = Sequence[tuple[bytes, bytes | None]]

# rd_kafka_vtype_t and rd_kafka.h's flags.
_TOPIC, _PARTITION, _VALUE, _KEY, _OPAQUE, _FLAGS, _TIMESTAMP, _HEADERS = 1, 3, 4, 5, 6, 7, 8, 10
_COPY = 2
_QUEUE_FULL = -184
_ANY_PARTITION = -1
_TEXT_BYTES = 512


class _Argument(ctypes.Structure):
    """rd_kafka_vu_t."""

    _fields_ = (("vtype", ctypes.c_int), ("words", ctypes.c_int64 * 8))


class _Message(ctypes.Structure):
    """rd_kafka_message_t."""

    _fields_ = (
        ("err", ctypes.c_int),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_length", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("opaque", ctypes.c_void_p),
    )


_Delivered = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Message), ctypes.c_void_p)


def _library() -> Any:
    """The librdkafka that confluent-kafka brings."""
    folder = Path(confluent_kafka.__file__).parent
    (file,) = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")][
        :1
    ]
    library, pointer, text, size = ctypes.CDLL(str(file)), ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ssize_t
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, size]),
        ("rd_kafka_conf_set_dr_msg_cb", None, [pointer, _Delivered]),
        ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, size]),
        ("rd_kafka_headers_new", pointer, [size]),
        ("rd_kafka_headers_destroy", None, [pointer]),
        ("rd_kafka_header_add", ctypes.c_int, [pointer, text, size, text, size]),
        ("rd_kafka_produceva", pointer, [pointer, pointer, size]),
        ("rd_kafka_error_code", ctypes.c_int, [pointer]),
        ("rd_kafka_error_destroy", None, [pointer]),
        ("rd_kafka_err2name", text, [ctypes.c_int]),
        ("rd_kafka_message_timestamp", ctypes.c_int64, [pointer, pointer]),
        ("rd_kafka_poll", ctypes.c_int, [pointer, ctypes.c_int]),
        ("rd_kafka_flush", ctypes.c_int, [pointer, ctypes.c_int]),
        ("rd_kafka_outq_len", ctypes.c_int, [pointer]),
        ("rd_kafka_destroy", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class RawProducer:
    """Not for several threads; `poll` and `flush` report deliveries."""

    def __init__(self, config: Mapping[str, str | int | bool]) -> None:
        """`config` are librdkafka's options."""
        self._library = _library()
        self._callback = _Delivered(self._delivered)
        self._waiting: dict[int, OnDelivery | None] = {}
        self._sent = 0
        said = ctypes.create_string_buffer(_TEXT_BYTES)
        options = self._library.rd_kafka_conf_new()
        for name, value in config.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            if self._library.rd_kafka_conf_set(options, name.encode(), text.encode(), said, _TEXT_BYTES):
                raise ValueError(said.value.decode())
        self._library.rd_kafka_conf_set_dr_msg_cb(options, self._callback)
        self._client = self._library.rd_kafka_new(0, options, said, _TEXT_BYTES)
        if not self._client:
            raise ValueError(said.value.decode())

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: Pairs = (),
        *,
        partition: int = _ANY_PARTITION,
        timestamp_ms: int = 0,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Hand over one record; `timestamp_ms` 0 is now, and no older one than 1 ms can be sent: librdkafka takes 0 for none.

        Raises:
            BufferError: the local queue is full; poll, and call again.
            ValueError: librdkafka refused the record; names the error.
        """
        self._sent += 1
        kept = [ctypes.create_string_buffer(topic.encode())]
        arguments = [
            _argument(_TOPIC, ctypes.addressof(kept[0])),
            _argument(_PARTITION, partition),
            _argument(_OPAQUE, self._sent),
            _argument(_FLAGS, _COPY),
        ]
        for vtype, content in ((_VALUE, value), (_KEY, key)):
            if content is not None:
                kept.append(ctypes.create_string_buffer(content, max(1, len(content))))
                arguments.append(_argument(vtype, ctypes.addressof(kept[-1]), len(content)))
        if timestamp_ms:
            arguments.append(_argument(_TIMESTAMP, timestamp_ms))
        held = self._headers(headers) if headers else None
        if held:
            arguments.append(_argument(_HEADERS, held))
        self._waiting[self._sent] = on_delivery
        error = self._library.rd_kafka_produceva(
            self._client, (_Argument * len(arguments))(*arguments), len(arguments)
        )
        if error:
            self._refuse(error, held)

    def poll(self, seconds: float) -> None:
        """Report deliveries."""
        self._library.rd_kafka_poll(self._client, int(seconds * 1_000))

    def flush(self, seconds: float) -> int:
        """Wait for all deliveries; the number that is left."""
        self._library.rd_kafka_flush(self._client, int(seconds * 1_000))
        left: int = self._library.rd_kafka_outq_len(self._client)
        return left

    def close(self) -> None:
        """End the client's threads; undelivered events are dropped."""
        self._library.rd_kafka_destroy(self._client)

    def _headers(self, pairs: Pairs) -> int:
        held: int = self._library.rd_kafka_headers_new(len(pairs))
        for name, value in pairs:
            self._library.rd_kafka_header_add(held, name, len(name), value, len(value or b""))
        return held

    def _refuse(self, error: int, headers: int | None) -> None:
        """The client takes the headers over only with the record."""
        del self._waiting[self._sent]
        if headers:
            self._library.rd_kafka_headers_destroy(headers)
        code = self._library.rd_kafka_error_code(error)
        self._library.rd_kafka_error_destroy(error)
        raise BufferError if code == _QUEUE_FULL else ValueError(self._name(code))

    def _delivered(self, _client: int, message: Any, _opaque: int) -> None:
        one = message.contents
        on_delivery = self._waiting.pop(one.opaque)
        if on_delivery:
            error = self._name(one.err) if one.err else None
            at_ms = self._library.rd_kafka_message_timestamp(message, None)
            on_delivery(error, one.partition, one.offset, at_ms)

    def _name(self, code: int) -> str:
        name: bytes = self._library.rd_kafka_err2name(code)
        return name.decode()


def _argument(vtype: int, *words: int) -> _Argument:
    return _Argument(vtype, (ctypes.c_int64 * 8)(*words))
