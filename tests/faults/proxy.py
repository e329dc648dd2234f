"""TCP proxies on loopback: one that slows or silences a server, and one that withholds Kafka's responses about transactions."""

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from ops.local.ports import HOST, free_port

_CHUNK = 64 * 1024
_LOOK_SECONDS = 0.1
_CONNECT_SECONDS = 5.0

# API keys of the Kafka protocol (https://kafka.apache.org/protocol#protocol_api_keys). EndTxn commits; the worker aborts by
# giving its producer up, and the InitProducerId of the next one does it.
END_TXN = 26
INIT_PRODUCER_ID = 22
_CONSUMER_GROUP_HEARTBEAT = 68
_HEAD = 12  # length, API key and version, correlation id


class Proxy:
    """Passes bytes on between clients and one server; `delay_s` slows its answers, `silent` passes nothing at all on.

    While it is silent, connections stay open and new ones are accepted: for the client, the server is half-open.
    """

    def __init__(self, target_port: int, port: int | None = None) -> None:
        self._target_port = target_port
        self.port = port or free_port()
        self.delay_s = 0.0
        self.silent = False
        self._listener = socket.socket()
        self._sockets: set[socket.socket] = set()
        self._closing = False

    def __enter__(self) -> Self:
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((HOST, self.port))
        self._listener.listen()
        self._run("accept", self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for each in (self._listener, *self._sockets):
            _close(each)

    def _run(self, name: str, target: object, *arguments: object) -> None:
        assert callable(target)
        threading.Thread(target=target, args=arguments, name=f"proxy-{name}", daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._run("connect", self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        self._wait_while_silent()
        try:
            server = socket.create_connection((HOST, self._target_port), _CONNECT_SECONDS)
        except OSError:
            _close(client)
            return
        server.settimeout(None)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets |= {client, server}
        self._begin(client, server)

    def _begin(self, client: socket.socket, server: socket.socket) -> None:
        self._run("requests", self._pump, client, server, False)
        self._run("answers", self._pump, server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if answers and self.delay_s:
                    time.sleep(self.delay_s)
                self._wait_while_silent()
                sink.sendall(data)
        self._end(source, sink)

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            _close(each)
            self._sockets.discard(each)

    def _wait_while_silent(self) -> None:
        while self.silent and not self._closing:
            time.sleep(_LOOK_SECONDS)


class KafkaProxy(Proxy):
    """Reads Kafka's frames, and keeps an answer from its client on demand: to a commit, an abort or a heartbeat.

    librdkafka repeats a request for as long as its call lasts. The same EndTxn is left without an answer each time, and a
    new producer's differs, because it has another epoch; an InitProducerId never differs, so it is left without
    one until `release`.
    """

    def __init__(self, target_port: int, port: int | None = None) -> None:
        super().__init__(target_port, port)
        self._lock = threading.Lock()
        self._orders: dict[tuple[int, bytes], bool] = {}  # by API and transactional id: whether it is to land
        self._withheld: dict[bytes, bool] = {}  # the same, by the bytes of an EndTxn
        self._lose_assignment = False

    def withhold(self, api: int, transactional_id: str, *, landed: bool) -> None:
        """Withhold one outcome from one producer; where not `landed`, the broker does not even see the request."""
        with self._lock:
            self._orders[api, transactional_id.encode()] = landed

    def release(self, transactional_id: str) -> None:
        """Withhold nothing more from this producer."""
        with self._lock:
            for api in (END_TXN, INIT_PRODUCER_ID):
                self._orders.pop((api, transactional_id.encode()), None)

    def lose_assignment(self) -> None:
        """Drop the next heartbeat response with a new assignment for a member of a KIP-848 group that owns partitions."""
        with self._lock:
            self._lose_assignment = True

    @property
    def has_lost_assignment(self) -> bool:
        with self._lock:
            return not self._lose_assignment

    def _begin(self, client: socket.socket, server: socket.socket) -> None:
        unwanted: set[int] = set()  # correlation ids whose answers are withheld
        heartbeats: set[int] = set()  # correlation ids
        self._run("requests", self._requests, client, server, unwanted, heartbeats)
        self._run("answers", self._answers, server, client, unwanted, heartbeats)

    def _requests(
        self, client: socket.socket, server: socket.socket, unwanted: set[int], heartbeats: set[int]
    ) -> None:
        with suppress(OSError):
            while frame := _frame(client):
                api, _version, correlation = struct.unpack_from(">hhi", frame, 4)
                if api == _CONSUMER_GROUP_HEARTBEAT:
                    heartbeats.add(correlation)
                landed = self._landed(api, frame[_HEAD:]) if api in (END_TXN, INIT_PRODUCER_ID) else None
                if landed is not None:
                    unwanted.add(correlation)
                if landed is not False:
                    server.sendall(frame)
        self._end(client, server)

    def _answers(
        self, server: socket.socket, client: socket.socket, unwanted: set[int], heartbeats: set[int]
    ) -> None:
        has_some = False  # the member, by the coordinator's last assignment
        with suppress(OSError):
            while frame := _frame(server):
                (correlation,) = struct.unpack_from(">i", frame, 4)
                given = _partitions_given(frame) if correlation in heartbeats else None
                if has_some and given and self._is_to_be_lost():
                    continue
                has_some = has_some if given is None else given
                if correlation not in unwanted:
                    client.sendall(frame)
        self._end(server, client)

    def _is_to_be_lost(self) -> bool:
        with self._lock:
            lose, self._lose_assignment = self._lose_assignment, False
        return lose

    def _landed(self, api: int, request: bytes) -> bool | None:
        """Whether a request is to reach the broker without an answer; None where it is to have its answer."""
        with self._lock:
            ordered = next((order for order in self._orders if order[0] == api and order[1] in request), None)
            if ordered is None:
                return self._withheld.get(request)
            if api == END_TXN:
                self._withheld[request] = self._orders.pop(ordered)
                return self._withheld[request]
            return self._orders[ordered]


def _frame(source: socket.socket) -> bytes:
    """One frame of the Kafka protocol with its length before it; empty where the connection ended."""
    head = source.recv(4, socket.MSG_WAITALL)
    if len(head) < 4:
        return b""
    (length,) = struct.unpack(">i", head)
    body = source.recv(length, socket.MSG_WAITALL)
    return head + body if len(body) == length else b""


def _partitions_given(heartbeat: bytes) -> bool | None:
    """Whether a ConsumerGroupHeartbeatResponse gives its member any partitions; None where it contains no assignment."""
    place = 4 + 4 + 1 + 4  # length, correlation id, tags, throttle time
    (error,) = struct.unpack_from(">h", heartbeat, place)
    if error:
        return None
    place += 2
    for _ in ("error message", "member id"):  # each with its length and 1 before it; 0 for none
        place += max(1, heartbeat[place])
    place += 4 + 4  # epoch, interval
    (told,) = struct.unpack_from(">b", heartbeat, place)
    return heartbeat[place + 1] > 1 if told == 1 else None  # topics, and 1


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
