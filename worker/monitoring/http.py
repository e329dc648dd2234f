"""One port for Prometheus, for the supervisor of the process, and for people: /metrics, /health/live, /health/ready, /."""

import ipaddress
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from schemas.errors import SettingsError
from schemas.settings import HttpSettings
from worker.monitoring.page import JSON, Page, Response
from worker.monitoring.threads import restarts, start_side

# A main loop that has not turned for so long is stuck; longer than any wait for Kafka or Milvus in it.
STUCK_AFTER_SECONDS = 120.0
# An idle connection is closed, so that its thread ends.
_IDLE_SECONDS = 30.0
_STOP_SECONDS = 0.1  # between two checks whether to close
_EVERY_RESPONSE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PATHS = b"/metrics, /health/live, /health/ready\n"
_STUCK = {"loop": "has not turned for two minutes"}


class Health:
    """The problems of this process, by part. The process is ready once it has begun and has no problem."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {"start": "the process is still starting"}
        self._turned_at: float | None = None
        self._lock = threading.Lock()

    def set(self, part: str, problem: str | None) -> None:
        """Set the problem of a part, a sentence, or None."""
        with self._lock:
            if problem is None:
                self._problems.pop(part, None)
            else:
                self._problems[part] = problem

    def begun(self) -> None:
        """The work has begun: before that, the process is not ready even without a problem."""
        self.set("start", None)

    def turn(self) -> None:
        """The main loop has turned once more; liveness ends when it stops."""
        self._turned_at = time.monotonic()

    @property
    def problems(self) -> dict[str, str]:
        with self._lock:
            return dict(self._problems)

    @property
    def live(self) -> bool:
        turned_at = self._turned_at
        return turned_at is None or time.monotonic() - turned_at < STUCK_AFTER_SECONDS


class HttpServer:
    """The running server; `port` is the one that was bound."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.host, self.port = str(server.server_address[0]), int(server.server_address[1])
        self._stopping = threading.Event()
        self._thread = start_side("http", lambda: server.serve_forever(_STOP_SECONDS), self._stopping)

    @property
    def address(self) -> str:
        return _address(self.host, self.port)

    @property
    def reachable(self) -> str:
        """The address for other machines: of all bound addresses, the one of this machine's name."""
        return _address(_own_address(self.host), self.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, host: str, port: int, health: Health, registry: CollectorRegistry, page: Page | None
    ) -> None:
        self.health, self.registry, self.page = health, registry, page
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Paths)

    def server_bind(self) -> None:
        """Serve IPv4 on `::` as well, against the default of some systems."""
        with suppress(OSError):
            if self.address_family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class _Paths(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "marquee", ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        response = self._response()
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in (_EVERY_RESPONSE | dict(response.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_HEAD = do_GET  # noqa: N815

    def _response(self) -> Response:
        health, page = self.server.health, self.server.page
        path, _, query = self.path.partition("?")
        if path == "/metrics":
            return Response(HTTPStatus.OK, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
        if path == "/health/live":
            return _state(health.live, {} if health.live else _STUCK)
        problems = health.problems
        if path == "/health/ready":
            return _state(not problems, problems, threads=restarts())
        found = page.respond(path, query, self.headers, problems) if page else None
        return found or Response(HTTPStatus.NOT_FOUND, _PATHS, "text/plain")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
        """Log no requests: scrapes come every few seconds."""


def serve(
    settings: HttpSettings,
    health: Health,
    registry: CollectorRegistry = REGISTRY,
    page: Page | None = None,
) -> HttpServer:
    """Bind the port and serve in a thread; `page` is the worker's, for people.

    Raises:
        SettingsError: the address cannot be bound.
    """
    try:
        return HttpServer(_Server(settings.host, settings.port, health, registry, page))
    except OSError as error:
        raise SettingsError(
            f"cannot serve /metrics on {_address(settings.host, settings.port)} ({error.strerror}): "
            "set MARQUEE_HTTP__HOST and MARQUEE_HTTP__PORT to a free address, port 0 takes any"
        ) from None


def _address(host: str, port: int) -> str:
    """Host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_address(host: str) -> str:
    """The host itself; where it is the wildcard, the address of the machine's name, or the name where that is loopback."""
    with suppress(ValueError, OSError):
        bound = ipaddress.ip_address(host)
        if bound.is_unspecified:
            name, family = socket.gethostname(), socket.AF_INET if bound.version == 4 else socket.AF_UNSPEC
            found = str(socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)[0][4][0])
            return name if ipaddress.ip_address(found).is_loopback else found
    return host


def _state(good: bool, problems: dict[str, str], **more: dict[str, str]) -> Response:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    body = orjson.dumps({"ok": good, "problems": problems, **more}, option=orjson.OPT_APPEND_NEWLINE)
    return Response(status, body, JSON)
