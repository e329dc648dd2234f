"""The examples of docs/connect.md and docs/serve-lists.md, each as a reader runs it, against one real deployment."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ops.local.kafka import LocalKafka
from ops.local.milvus import MilvusLite
from ops.local.ports import free_port
from schemas.settings import Settings, load_settings
from tests.testbed.indexing import activate
from tests.testbed.processes import Process, wait_for

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def served(
    kafka: LocalKafka, milvus_lite: MilvusLite, fusion_store: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A deployment under the default prefix, whose worker serves."""
    settings = load_settings(
        store=fusion_store,
        kafka={"bootstrap_servers": kafka.bootstrap_servers},
        milvus={"uri": milvus_lite.uri},
        http={"port": 0},
    )
    activate(settings)
    with Process("worker", settings, tmp_path_factory.mktemp("worker")) as worker:
        worker.wait_ready(120)
        yield settings


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with examples/requirements.txt alone."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    path = str(folder / "bin/python")
    subprocess.run([path, "-m", "pip", "install", "-q", "-r", EXAMPLES / "requirements.txt"], check=True)
    return path


def run(*command: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running(command: list[str], **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs until the end of the block. Its output goes into this process' own."""
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def publish(python: str, settings: Settings, **event: Any) -> None:
    run(python, EXAMPLES / "python/publish.py", settings.kafka.bootstrap_servers, json.dumps(event))


def test_python_publishes_and_consumes(served: Settings, python: str) -> None:
    publish(python, served, user_id=1001, age=27)

    with running([python, str(EXAMPLES / "python/consume.py"), served.kafka.bootstrap_servers]) as reader:
        assert reader.stdout is not None
        line = next(line for line in reader.stdout if line.startswith("1001: "))

    assert len(line.split(", ")) >= 5


@pytest.mark.parametrize("language", ["java", "node"])
def test_an_event_is_answered_to_its_publisher(served: Settings, language: str, tmp_path: Path) -> None:
    folder = tmp_path / language
    shutil.copytree(EXAMPLES / language, folder)
    servers = served.kafka.bootstrap_servers

    if language == "java":
        arguments = f'-Dexec.arguments={servers},{{"user_id": 1002}}'
        printed = run("mvn", "-q", "-B", "compile", "exec:java", arguments, folder=folder)
    else:
        run("npm", "install", "--silent", "--no-audit", "--no-fund", folder=folder)
        printed = run("node", "recommend.js", servers, '{"user_id": 1003}', folder=folder)

    ranks = [line.split(". ")[0][-1] for line in printed.splitlines() if ". " in line]
    assert ranks == ["1", "2", "3", "4", "5"]


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        ping = ["redis-cli", "-p", str(port), "ping"]
        wait_for("redis", lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0)
        try:
            yield port
        finally:
            server.terminate()


def test_redis_ignores_a_result_that_is_delivered_again(
    served: Settings, python: str, tmp_path: Path
) -> None:
    publish(python, served, user_id=1004)
    publish(python, served, user_id=1004, k=3)

    with redis_server(tmp_path) as port:

        def kept() -> dict[str, str]:
            read = run("redis-cli", "-p", str(port), "--json", "HGETALL", "recommendations:1004")
            return dict(json.loads(read))

        def last() -> bool:
            return len(json.loads(kept().get("movies", "[]"))) == 3

        sink = [python, str(EXAMPLES / "sinks/redis_sink.py"), served.kafka.bootstrap_servers]
        with running([*sink, f"redis://127.0.0.1:{port}"]):
            wait_for("the last list", last)
        first = kept()
        # The group's offsets are deleted, so the sink reads everything again.
        run(python, "-c", DELETE_GROUP, served.kafka.bootstrap_servers, "marquee.reader.redis")
        publish(python, served, user_id=1005)
        with running([*sink, f"redis://127.0.0.1:{port}"]):
            wait_for(
                "a later user",
                lambda: run("redis-cli", "-p", str(port), "EXISTS", "recommendations:1005") == "1\n",
            )

        assert kept() == first


DELETE_GROUP = """
import sys, time
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for attempt in range(60):
    try:
        admin.delete_consumer_groups([sys.argv[2]])[sys.argv[2]].result(); break
    except Exception:
        time.sleep(1)
else:
    raise SystemExit("the group is not empty")
"""


def test_postgres_keeps_each_result_once(served: Settings, python: str, postgres: str) -> None:
    def query(sql: str) -> str:
        return run("psql", postgres, "--tuples-only", "--no-align", "--command", sql).strip()

    publish(python, served, user_id=1006, k=2)
    sink = [python, str(EXAMPLES / "sinks/postgres_sink.py"), served.kafka.bootstrap_servers, postgres]
    lengths = "SELECT jsonb_array_length(movies) FROM recommendations WHERE user_id = {}"
    with running(sink):
        wait_for("the tables", lambda: query("SELECT to_regclass('recommendations')"))
        wait_for("the list", lambda: query(lengths.format(1006)) == "2")
        before = query("SELECT sum(next_offset) FROM positions")
    publish(python, served, user_id=1007, k=4)
    with running(sink):
        wait_for("the next list", lambda: query(lengths.format(1007)) == "4")

    assert int(query("SELECT sum(next_offset) FROM positions")) > int(before)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a real Postgres, which refuses to run as root."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert programs, "make test-system installs Debian's postgresql"
    data, port = Path("/tmp") / f"marquee-postgres-{os.getpid()}", free_port()
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    run(*as_postgres, programs[-1] / "initdb", "-D", data, "-A", "trust", folder=data)
    command = [
        *as_postgres,
        str(programs[-1] / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-k",
        str(data),
    ]
    with subprocess.Popen(command, cwd=data, stderr=subprocess.DEVNULL) as server:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        ready = ["psql", url, "-c", "SELECT 1"]
        wait_for("postgres", lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
        try:
            yield url
        finally:
            server.terminate()
    shutil.rmtree(data)


def test_http_asks_through_kafka(served: Settings, python: str) -> None:
    port = free_port()
    command = [
        python,
        "-m",
        "uvicorn",
        "app:app",
        "--app-dir",
        str(EXAMPLES / "fastapi"),
        "--port",
        str(port),
    ]
    body = json.dumps({"user_id": 1008, "k": 3}).encode()

    def answered() -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/recommendations",
            data=body,
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except OSError:
            return None

    with running(command, KAFKA=served.kafka.bootstrap_servers):
        result = wait_for("the API", answered)

    assert [movie["rank"] for movie in result["movies"]] == [1, 2, 3]
    assert result["milliseconds"] > 0
