"""The page at `/` of the worker's port: the metrics for people without Grafana, read-only.

/             one HTML file with its style and script inside; nothing is loaded from elsewhere
/page/trend   JSON: points of the last half an hour, later than `?after=`
/page/events  JSON: the last recommendations and dead letters, where `Access` allows it
"""

import hashlib
import hmac
import ipaddress
import re
import time
from base64 import b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from importlib import resources
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs

import orjson

from schemas import dead_letter
from schemas.settings import HttpSettings
from worker.events import Answer, source_of
from worker.monitoring.trend import Trend

JSON = "application/json"
KEPT = 8  # results, and as many dead letters
# A page shows no more of a dead letter's value.
_SHOWN_BYTES = 300


@dataclass(frozen=True)
class Response:
    """The response to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Access:
    """Access to users' profiles: with the token, or, where no token is set and the port is bound to loopback, from this machine."""

    def __init__(self, settings: HttpSettings) -> None:
        self._token = settings.token.get_secret_value().encode() if settings.token else None
        self._local = is_loopback(settings.host)

    @property
    def possible(self) -> bool:
        """Whether any request can be allowed."""
        return self._token is not None or self._local

    def allows(self, headers: Message) -> bool:
        """Whether a request with these headers is allowed."""
        if self._token is not None:
            given = headers.get("Authorization", "").removeprefix("Bearer ").encode()
            return hmac.compare_digest(given, self._token)
        # A name that points at 127.0.0.1 would make this page part of another website (DNS rebinding).
        return self._local and is_loopback(_host_of(headers.get("Host", "")))

    def refusal(self) -> Response:
        """The response to a request that is not allowed."""
        if self._token is not None:
            return _json({"error": "the token is missing or wrong"}, HTTPStatus.UNAUTHORIZED)
        error = "set MARQUEE_HTTP__TOKEN to see the last recommendations and dead letters here"
        return _json({"error": error}, HTTPStatus.FORBIDDEN)


class Latest:
    """The last results and dead letters, which contain users' profiles. The publishing thread writes, the port's threads read."""

    def __init__(self, *, kept: int = KEPT) -> None:
        """Keep as many of each; none where no request is allowed to see them."""
        # The events are not kept: each may have a mebibyte.
        self._results: deque[tuple[float, bytes]] = deque(maxlen=kept)
        self._dead_letters: deque[dict[str, Any]] = deque(maxlen=kept)

    def committed(self, answers: Sequence[Answer]) -> None:
        """Keep the last of these committed records."""
        if not self._results.maxlen:
            return
        now = time.time()
        dead = [answer for answer in answers if answer.reason is not None]
        self._dead_letters.extend(_shown(now, answer) for answer in dead[-KEPT:])
        if len(dead) < len(answers):
            alive = [answer for answer in answers[-KEPT - len(dead) :] if answer.reason is None]
            self._results.extend((now, answer.record.value or b"{}") for answer in alive[-KEPT:])

    def recommendations(self) -> list[dict[str, Any]]:
        """Newest first: the time of the commit, and the recommendation."""
        kept = reversed(list(self._results))
        return [{"at": at, **orjson.loads(result)} for at, result in kept]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Newest first: the time of the commit, the reason, and the first bytes."""
        return list(self._dead_letters)[::-1]


def _shown(at: float, answer: Answer) -> dict[str, Any]:
    headers = dict(answer.record.headers)
    error = headers.get(dead_letter.ERROR) or b""
    value = answer.event.value()
    return {
        "at": at,
        "source": source_of(answer.event),
        "reason": answer.reason,
        "error": error if isinstance(error, str) else error.decode(errors="replace"),
        "value": None if value is None else value[:_SHOWN_BYTES].decode(errors="replace"),
        "bytes": None if value is None else len(value),
    }


class Page:
    """Responds to the page's paths."""

    def __init__(self, worker: str, access: Access, trend: Trend, latest: Latest) -> None:
        self._about = {"worker": worker, "version": version("marquee")}
        self._access = access
        self._trend = trend
        self._latest = latest
        self._html = resources.files("worker.monitoring").joinpath("page.html").read_bytes()
        self._headers = {"Content-Security-Policy": content_security_policy(self._html.decode())}

    def respond(self, path: str, query: str, headers: Message, problems: dict[str, str]) -> Response | None:
        """The response to a GET, or None for a path that is not the page's."""
        if path == "/":
            return Response(HTTPStatus.OK, self._html, "text/html; charset=utf-8", self._headers)
        if path == "/page/trend":
            return _json({**self._about, "problems": problems, "points": self._trend.after(_after(query))})
        if path == "/page/events":
            return self._events() if self._access.allows(headers) else self._access.refusal()
        return None

    def _events(self) -> Response:
        latest = self._latest
        return _json({"recommendations": latest.recommendations(), "dead_letters": latest.dead_letters()})


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def content_security_policy(html: str) -> str:
    """Allow only this style and script to run, and only this port to be called."""
    style, script = (
        b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for tag in ("style", "script")
        for found in re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _after(query: str) -> float:
    try:
        return float(parse_qs(query).get("after", ["0"])[0])
    except ValueError:
        return 0.0


def _host_of(header: str) -> str:
    """`127.0.0.1:9464`, `[::1]:9464` or `localhost` without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _json(content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, orjson.dumps(content), JSON)
