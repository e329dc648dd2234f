"""What is said to a schema registry, and what its answers mean; tests/system asks a real one."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ops.commands.processes import check_schemas, indexer, outcomes_worker, worker
from schemas import registry
from schemas.errors import MarqueeError, SettingsError, UnreachableError
from schemas.settings import Settings, load_settings

Request = tuple[str, str | None, dict[str, str]]


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[Request]]]:
    """A server that answers all alike, and the requests that it got: path, authorization, body."""
    requests: list[Request] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, self.headers["Authorization"], body))
            answer = json.dumps({"id": len(requests), "message": "said so"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it
            """Tests have no use for it."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", requests
    finally:
        server.shutdown()
        server.server_close()


def settings(url: str | None) -> Settings:
    return load_settings(registry={"url": url, "username": "me", "password": "secret"})


def test_each_kind_of_record_has_a_subject_of_its_own() -> None:
    with answering(200) as (url, requests):
        registered = registry.register(settings(url))
    subjects = [one.subject for one in registered]
    assert len(set(subjects)) == len(subjects)
    assert {"marquee.profiles-value", "marquee.releases-active-record"} <= set(subjects)
    path, authorization, body = requests[0]
    assert path == "/subjects/marquee.profiles-value/versions"
    assert authorization == "Basic bWU6c2VjcmV0"
    assert body["schemaType"] == "JSON"
    assert json.loads(body["schema"])["title"] == "Profile event"


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, SettingsError, "MARQUEE_REGISTRY__PASSWORD"),
        (404, MarqueeError, "marquee topics"),
        (409, MarqueeError, "not compatible"),
        (500, MarqueeError, "said so"),
    ],
)
def test_a_refusal_is_said_in_a_sentence(status: int, kind: type[MarqueeError], said: str) -> None:
    with answering(status) as (url, _), pytest.raises(kind, match=said) as refusal:
        check_schemas(settings(url))
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("command", [worker, indexer, outcomes_worker])
def test_none_begins_with_schemas_that_the_registry_does_not_have(
    command: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.deployment.logs.set_up", lambda _: None)
    with answering(404) as (url, _), pytest.raises(MarqueeError, match="marquee topics"):
        monkeypatch.setenv("MARQUEE_REGISTRY__URL", url)
        command()


def test_one_that_is_away_keeps_no_worker_from_beginning(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnreachableError):
        registry.check(settings("http://127.0.0.1:9"))
    check_schemas(settings("http://127.0.0.1:9"))
    assert "without a check of the schemas" in caplog.text


def test_none_is_asked_where_none_is_named() -> None:
    check_schemas(settings(None))
