"""The page at `/` of the worker's port: the same as the metrics, for someone without Grafana, and read-only.

/             one HTML file with its style and script inside; nothing comes from anywhere else
/page/trend   JSON: points of the last half an hour, later than `?after=`
/page/events  JSON: the last recommendations and dead letters, for whom `Access` lets in
"""

import hashlib
import hmac
import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from importlib import resources
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs

import orjson

from schemas.settings import HttpSettings
from worker.monitoring.latest import Latest
from worker.monitoring.trend import Trend

JSON = "application/json"


@dataclass(frozen=True)
class Response:
    """What a path answers."""

    status: HTTPStatus
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Access:
    """Who may see people's profiles: who has the token, or, where none is set, who is on this machine.

    Where none is set and the port is bound to more than loopback, nobody.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._token = settings.token.get_secret_value().encode() if settings.token else None
        self._local = is_loopback(settings.host)

    @property
    def possible(self) -> bool:
        """Whether there is anybody."""
        return self._token is not None or self._local

    def allows(self, headers: Message) -> bool:
        """Whether a request may see them."""
        if self._token is not None:
            given = headers.get("Authorization", "").removeprefix("Bearer ").encode()
            return hmac.compare_digest(given, self._token)
        # A name that somebody lets point at 127.0.0.1 would make this page their website's own (DNS rebinding).
        return self._local and is_loopback(_host_of(headers.get("Host", "")))

    def refusal(self) -> Response:
        """What those get who may not."""
        if self._token is not None:
            return _json({"error": "the token is missing or wrong"}, HTTPStatus.UNAUTHORIZED)
        error = "set MARQUEE_HTTP__TOKEN to see the last recommendations and dead letters here"
        return _json({"error": error}, HTTPStatus.FORBIDDEN)


class Page:
    """Answers the page's paths."""

    def __init__(self, worker: str, access: Access, trend: Trend, latest: Latest) -> None:
        self._about = {"worker": worker, "version": version("marquee")}
        self._access = access
        self._trend = trend
        self._latest = latest
        self._html = resources.files("worker.monitoring").joinpath("page.html").read_bytes()
        self._headers = {"Content-Security-Policy": content_security_policy(self._html.decode())}

    def respond(self, path: str, query: str, headers: Message, problems: dict[str, str]) -> Response | None:
        """The answer to a GET, or None where the path is none of the page's."""
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
    """Only this very style and script may run, and only this port may be asked."""
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
