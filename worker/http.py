"""One port for Prometheus and for whoever restarts us: /metrics, /health/live, /health/ready."""

import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from schemas.errors import SettingsError
from schemas.settings import HttpSettings

# A loop that has not turned for so long is stuck; above any wait that Kafka or Milvus can cause in it.
STUCK_AFTER_SECONDS = 120.0


class Health:
    """What keeps this process from its work, by part. Ready means: it has begun, and nothing does."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {"start": "the process is still starting"}
        self._turned_at: float | None = None
        self._lock = threading.Lock()

    def set(self, part: str, problem: str | None) -> None:
        """Say what is wrong with a part (a sentence), or None when it is well."""
        with self._lock:
            if problem is None:
                self._problems.pop(part, None)
            else:
                self._problems[part] = problem

    def begun(self) -> None:
        """The work has begun: before that, no news is no readiness."""
        self.set("start", None)

    def turn(self) -> None:
        """Called by the main loop each time round; liveness ends when it stops."""
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
        self._thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(settings: HttpSettings, health: Health, registry: CollectorRegistry = REGISTRY) -> HttpServer:
    """Bind the port and serve in a thread.

    Raises:
        SettingsError: the address cannot be bound.
    """

    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._send(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path == "/health/live":
                self._send_state(
                    health.live, {} if health.live else {"loop": "has not turned for two minutes"}
                )
            elif path == "/health/ready":
                problems = health.problems
                self._send_state(not problems, problems)
            else:
                self._send(HTTPStatus.NOT_FOUND, b"/metrics, /health/live, /health/ready\n", "text/plain")

        def _send_state(self, good: bool, problems: dict[str, str]) -> None:
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            body = orjson.dumps({"ok": good, "problems": problems}, option=orjson.OPT_APPEND_NEWLINE)
            self._send(status, body, "application/json")

        def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
            """A scrape every few seconds is no news."""

    try:
        server = ThreadingHTTPServer((settings.host, settings.port), Page)
    except OSError as error:
        raise SettingsError(
            f"cannot serve /metrics on {settings.host}:{settings.port} ({error.strerror}): "
            "set MARQUEE_HTTP__HOST and MARQUEE_HTTP__PORT to a free address, port 0 takes any"
        ) from None
    server.daemon_threads = True
    return HttpServer(server)
