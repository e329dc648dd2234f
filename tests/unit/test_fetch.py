"""Fetching ml-1m, against a web server of our own: resume, checksum, licence, and what is not the archive."""

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ops.commands.data import register
from ops.data import fetch
from ops.data.fetch import FetchError, download, unpack
from schemas.errors import UnreachableError

FILES = {
    "users.dat": "1::F::1::10::48067\n",
    "movies.dat": "10::Toy Story (1995)::Animation\n",
    "ratings.dat": "1::10::5::978300760\n",
    "README": "terms\n",
}


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(f"ml-1m/{name}", content)
    return buffer.getvalue()


class Server:
    """Serves one archive; can ignore ranges, and can break off after some bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges = True
        self.break_after: int | None = None
        self.asked: list[str | None] = []
        outer = self

        class Requests(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and outer.ranges else 0
                if start >= len(outer.content):
                    self.send_error(416)
                    return
                body = outer.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: outer.break_after])

            def log_message(self, *args: object) -> None:
                """Keep the tests' output clean."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self.url = f"http://127.0.0.1:{self._http.server_port}/ml-1m.zip"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(archive(FILES))
    yield server
    server.close()


def fetched(server: Server, path: Path) -> list[int]:
    """Download, and give the progress that was reported."""
    seen: list[int] = []
    md5 = hashlib.md5(server.content).hexdigest()
    download(server.url, path, md5, lambda there, _: seen.append(there))
    return seen


def test_downloads_and_checks(server: Server, tmp_path: Path) -> None:
    seen = fetched(server, tmp_path / "ml-1m.zip")

    assert (tmp_path / "ml-1m.zip").read_bytes() == server.content
    assert seen[-1] == len(server.content)
    assert not (tmp_path / "ml-1m.zip.part").exists()


def test_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = 100
    with pytest.raises(UnreachableError, match="run the command again"):
        fetched(server, tmp_path / "ml-1m.zip")
    assert not (tmp_path / "ml-1m.zip").exists()

    server.break_after = None
    fetched(server, tmp_path / "ml-1m.zip")

    assert server.asked == [None, "bytes=100-"]
    assert (tmp_path / "ml-1m.zip").read_bytes() == server.content


def test_begins_anew_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "ml-1m.zip.part").write_bytes(b"something older")

    fetched(server, tmp_path / "ml-1m.zip")

    assert (tmp_path / "ml-1m.zip").read_bytes() == server.content


def test_takes_a_part_that_was_already_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(server.content)

    fetched(server, tmp_path / "ml-1m.zip")

    assert (tmp_path / "ml-1m.zip").read_bytes() == server.content


def test_removes_what_has_another_checksum(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(b"x" * 50)

    with pytest.raises(FetchError, match="md5"):
        fetched(server, tmp_path / "ml-1m.zip")

    assert list(tmp_path.iterdir()) == []
    fetched(server, tmp_path / "ml-1m.zip")


def test_says_that_nobody_answers(server: Server, tmp_path: Path) -> None:
    server.close()

    with pytest.raises(UnreachableError, match="cannot be read"):
        download(server.url, tmp_path / "ml-1m.zip", "", lambda *_: None)


def test_names_what_the_archive_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive({"users.dat": "", "README": ""}))

    with pytest.raises(FetchError, match=r"lacks movies\.dat, ratings\.dat"):
        unpack(tmp_path / "a.zip", tmp_path)


@pytest.fixture
def app(server: Server, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setattr(fetch, "MD5", hashlib.md5(server.content).hexdigest())
    app = typer.Typer()
    register(app)
    return app


def test_command_shows_the_licence_and_takes_no_for_an_answer(
    app: typer.Typer, server: Server, tmp_path: Path
) -> None:
    refused = CliRunner().invoke(
        app, ["data", "fetch", str(tmp_path / "d"), "--url", server.url], input="n\n"
    )

    assert refused.exit_code == 1
    assert "not to be redistributed" in refused.stderr
    assert server.asked == []


def test_command_fetches_unpacks_and_checks(app: typer.Typer, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    arguments = ["data", "fetch", str(folder), "--url", server.url, "--accept-licence", "--json"]

    result = CliRunner().invoke(app, arguments)

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ratings"] == 1
    assert "not to be redistributed" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
